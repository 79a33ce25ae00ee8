"""``SSF``: a learned scale and shift behind every layer, which can be folded into it.

Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning (Lian et al., NeurIPS
2022, https://arxiv.org/abs/2210.08823, section 3.2). Behind a layer without a bias there is a shift
only where a batch norm follows, into whose mean it can be folded.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitadapter_dense.encoders.storage import widen
from vitadapter_dense.tuning.base import Tuning


class ScaleShift(nn.Module):
    """``scale * x + shift``.

    Args:
        channels: of x.
        axis: of the channels in x: 1 or -1.
        shift: whether there is a shift.
        std: spread around 1 and 0 before training.
    """

    def __init__(self, channels: int, *, axis: int, shift: bool, std: float) -> None:
        super().__init__()
        self.axis = axis
        self.scale = nn.Parameter(torch.empty(channels))
        nn.init.normal_(self.scale, mean=1.0, std=std)
        self.shift = nn.Parameter(torch.empty(channels)) if shift else None
        if shift:
            nn.init.normal_(self.shift, std=std)

    def forward(self, x: Tensor, axis: int | None = None) -> Tensor:
        """The same shape; an axis of its own for this call."""
        shape = (-1, 1, 1) if (axis or self.axis) == 1 else (-1,)
        x = x * self.scale.view(shape)
        return x if self.shift is None else x + self.shift.view(shape)


@MODELS.register_module()
class SSF(Tuning):
    """Scales and shifts behind every linear layer, convolution and layer norm.

    Args:
        std: of the random start around 1 and 0 (authors' code: 0.02).
    """

    identity_at_start = False
    mergeable = True

    def __init__(self, std: float = 0.02) -> None:
        super().__init__()
        self.std = std
        self.scales = nn.ModuleList()
        self.merged = False
        self._layers: list[nn.Module] = []
        # A batch norm may be replaced by a synchronised one: it is kept as its parent and name.
        self._batch_norms: list[tuple[nn.Module, str] | None] = []

    def attach(self, backbone: nn.Module) -> None:
        """Finds the layers.

        Raises:
            ValueError: there is none.
        """
        called_otherwise = tuple(
            f'{name}.'
            for name, module in backbone.named_modules()
            if isinstance(module, nn.MultiheadAttention)
        )
        for parent_name, parent in backbone.named_modules():
            children = list(parent.named_children())
            for position, (name, layer) in enumerate(children):
                full_name = f'{parent_name}.{name}' if parent_name else name
                if full_name.startswith(called_otherwise) or not _fits(layer):
                    continue
                follower = children[position + 1] if position + 1 < len(children) else ('', None)
                followed = isinstance(layer, nn.Conv2d) and isinstance(follower[1], _BatchNorm)
                self._add(full_name, layer, (parent, follower[0]) if followed else None)
        if not self.sites:
            raise ValueError(
                f'{type(backbone).__name__} has no linear layer, convolution or layer norm'
            )

    def _add(self, name: str, layer: nn.Module, batch_norm: tuple[nn.Module, str] | None) -> None:
        on_maps = isinstance(layer, nn.Conv2d) or type(layer).__name__ == 'LayerNorm2d'
        scale = ScaleShift(
            layer.weight.shape[0],
            axis=1 if on_maps else -1,
            shift=layer.bias is not None or batch_norm is not None,
            std=self.std,
        )
        hook = partial(self._scale, len(self.scales))
        layer.register_forward_hook(hook, with_kwargs=True)
        self.scales.append(scale)
        self.sites.append(name)
        self._layers.append(layer)
        self._batch_norms.append(None if layer.bias is not None else batch_norm)

    def _scale(
        self, index: int, _module: nn.Module, _args: tuple, named: dict[str, Any], out: Tensor
    ) -> Tensor:
        if self.merged:
            return out
        # MMPretrain's LayerNorm2d is told by its caller where the channels are
        last = named.get('data_format') == 'channel_last'
        return self.scales[index](out, axis=-1 if last else None)

    @torch.no_grad()
    def merge(self) -> None:
        """Folds scales and shifts into the layers; they act no more after that."""
        if self.merged:
            return
        for layer, scale, batch_norm in zip(
            self._layers, self.scales, self._batch_norms, strict=True
        ):
            widen(layer.weight)
            layer.weight *= scale.scale.view(-1, *[1] * (layer.weight.ndim - 1))
            if layer.bias is not None:
                layer.bias.copy_(layer.bias * scale.scale + scale.shift)
            elif batch_norm is not None:
                parent, name = batch_norm
                getattr(parent, name).running_mean -= scale.shift
        self.merged = True


def _fits(layer: nn.Module) -> bool:
    if isinstance(layer, nn.LayerNorm):
        return layer.elementwise_affine
    return isinstance(layer, (nn.Linear, nn.Conv2d))
