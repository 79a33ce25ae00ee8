"""16 bits: what torchvision's kernels do not take, or only with 16-bit sums, is computed wide."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

_NARROW = (torch.float16, torch.bfloat16)


def wide(tensor: Tensor) -> Tensor:
    """A 16-bit tensor in float32, any other as it is."""
    return tensor.float() if tensor.dtype in _NARROW else tensor


def wide_real(tensor: Tensor, what: str) -> Tensor:
    """As :func:`wide`; whole numbers are refused, whose results mmcv would round without a word.

    Raises:
        TypeError: a tensor of whole numbers.
    """
    if not tensor.is_floating_point():
        raise TypeError(
            f'{what} are {tensor.dtype}, which results would be rounded to. Mend: .float()'
        )
    return wide(tensor)


def wide_as(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor in the dtype in which ``other`` is computed."""
    return tensor.to(wide(other).dtype)


def as_given(tensor: Tensor) -> AbstractContextManager[object]:
    """Within it autocast narrows nothing, as it cannot in a compiled operator.

    Needed around matrix products; torchvision's kernels and ``msda`` have rules of their own.
    """
    kind = tensor.device.type
    if not torch.amp.is_autocast_available(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)
