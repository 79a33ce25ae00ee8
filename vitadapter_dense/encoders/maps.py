"""Maps ``(B, C, H, W)`` that truly are in one of PyTorch's two layouts.

PyTorch calls a tensor contiguous whatever the stride of an axis of length 1. Of one image the view
of a token sequence as a map then counts as channels-last by one test and as channels-first by
another, and the batch norm of torch 2.11 on the CPU asks both: its outputs are right, its gradients
are wrong. The same befalls it where a gradient comes in such strides, as from a head that flattens
the maps to tokens. ``tests/encoders/test_maps.py`` shows the fault and tells when it is gone.
"""

from __future__ import annotations

from torch import Tensor


def map_of(rows: Tensor) -> Tensor:
    """``(B, H, W, C)`` -> ``(B, C, H, W)`` in channels-last layout; copies only what has gaps."""
    return _with_own_strides(rows.contiguous()).movedim(-1, 1)


def dense(feature_map: Tensor) -> Tensor:
    """``(B, C, H, W)`` in one of the two layouts; copies only what is in none.

    The gradient that comes back for it is handed on in such a layout too. Every map that leaves a
    backbone goes through here.
    """
    if feature_map.is_contiguous():
        return _with_own_strides(feature_map)
    if feature_map.stride(1) == 1:
        return map_of(feature_map.movedim(1, -1))
    return feature_map.contiguous()


def _with_own_strides(x: Tensor) -> Tensor:
    """A contiguous tensor with the strides of a fresh one: axes of length 1 get theirs anew."""
    return x.flatten().view(x.shape)
