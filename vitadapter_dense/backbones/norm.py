"""Normalisation layers from MMEngine-style configs, without needing MMCV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

_LAYERS: dict[str, Callable[..., nn.Module]] = {
    'BN': nn.BatchNorm2d,
    'BN2d': nn.BatchNorm2d,
    'SyncBN': nn.SyncBatchNorm,
}


def norm_factory(norm_cfg: dict[str, Any]) -> Callable[[int], nn.Module]:
    """Turns ``dict(type='BN' | 'SyncBN' | 'GN', requires_grad=True, ...)`` into ``norm(channels)``.

    Other keys are the layer's own (``eps``, ``momentum``; ``num_groups`` for GN). ``BN`` becomes
    synchronised under a GPU launcher through ``sync_bn='torch'`` in the base runtime config.

    Raises:
        ValueError: unknown type.
    """
    options = dict(norm_cfg)
    kind = options.pop('type', None)
    requires_grad = options.pop('requires_grad', True)
    if kind != 'GN' and kind not in _LAYERS:
        raise ValueError(f'norm_cfg type {kind!r} is unknown; choose one of {[*_LAYERS, "GN"]}')

    def make(channels: int) -> nn.Module:
        if kind == 'GN':
            layer: nn.Module = nn.GroupNorm(
                options['num_groups'], channels, eps=options.get('eps', 1e-5)
            )
        else:
            layer = _LAYERS[kind](channels, **options)
        return layer.requires_grad_(requires_grad)

    return make
