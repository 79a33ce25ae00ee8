"""Keeps the activations that timm builds into its batch norms.

``BatchNormAct2d`` of timm (RegNet, EfficientNet, ...) is a batch norm that ends with an activation.
What turns batch norms into synchronised ones or back (PyTorch's and MMEngine's functions) takes it
for a plain one: the new module has the activation as a child, but does not call it. timm's own
function does better (https://github.com/huggingface/pytorch-image-models/issues/1254), but runners
do not use it.
"""

from __future__ import annotations

from torch import Tensor, nn

from vitadapter_dense.encoders.mixin import Mixin, mix_in


class _Acting(Mixin):
    """A batch norm that calls its children after it; mixed into its class."""

    def forward(self, x: Tensor) -> Tensor:
        """The norm's own, then dropout and activation."""
        return self.act(self.drop(super().forward(x)))


def restore_activations(model: nn.Module) -> None:
    """Has converted batch norms call the activation that they were left with."""
    for module in model.modules():
        kind = type(module)
        ours = issubclass(kind, _Acting) or kind.__module__.startswith('timm.')
        if (
            not ours
            and {'act', 'drop'} <= module._modules.keys()
            and hasattr(module, 'running_var')
        ):
            mix_in(module, _Acting)
