"""16 bits: what torchvision's kernels do not take, or only with 16-bit sums, is computed wide."""

from __future__ import annotations

import torch
from torch import Tensor

_NARROW = (torch.float16, torch.bfloat16)


def wide(tensor: Tensor) -> Tensor:
    """A 16-bit tensor in float32, any other as it is."""
    return tensor.float() if tensor.dtype in _NARROW else tensor


def wide_as(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor in the dtype in which ``other`` is computed."""
    return tensor.to(wide(other).dtype)
