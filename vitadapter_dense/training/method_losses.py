"""Losses that tuning methods add to a model's own, in the one place where all models hand them out.

A model of any toolbox, called with ``mode='loss'``, returns its losses by name. There, and within
the wrapper of several processes, those of its methods are put beside them: they are part of what
the model returns, so that the step sums and logs them, divides them by accumulated batches, and
DDP's reducer finds what they depend on. A method keeps them outside of what is recomputed in the
backward pass, from its forward pass in training to here.
"""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitadapter_dense.tuning.delta import tuned_backbones

_OWN = 'loss_own'  # what a model calls 'loss', if there are others beside it


@HOOKS.register_module()
class MethodLossesHook(Hook):
    """Has a model in training return the losses of its tuning methods beside its own.

    `DenseRunner` registers it by itself.
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def before_train(self, runner: Any) -> None:
        """Begins to collect, if a method is there."""
        model = runner.bare_model
        if any(True for _ in tuned_backbones(model)):
            self._handles = [
                model.register_forward_pre_hook(_drop_old),
                model.register_forward_hook(_add_losses),
            ]

    def after_train(self, runner: Any) -> None:
        """Collects no more."""
        while self._handles:
            self._handles.pop().remove()


def _drop_old(model: nn.Module, _args: tuple) -> None:
    for _, backbone in tuned_backbones(model):
        backbone.tuning.losses()


def _add_losses(model: nn.Module, _args: tuple, output: Any) -> Any:
    if not (model.training and isinstance(output, dict)):
        return output
    added: dict[str, Tensor] = {}
    for _, backbone in tuned_backbones(model):
        for name, loss in backbone.tuning.losses().items():
            if name in output or 'loss' not in name:
                raise ValueError(
                    f'{type(backbone.tuning).__name__} adds {name!r} to the losses of '
                    f'{type(model).__name__}, which has {sorted(output)}: a name must be new, and '
                    f"contain 'loss' to be summed"
                )
            added[name] = added[name] + loss if name in added else loss
    if not added:
        return output
    # MMEngine logs a single loss of that name in the place of the sum
    own = {_OWN if name == 'loss' else name: loss for name, loss in output.items()}
    return {**own, **added}
