"""Frozen weights in 16 bits: half the memory, and nothing that trains is rounded.

The matrices of linear layers and convolutions are rounded, which are nearly all of an encoder;
norms, biases, positions and scales keep their digits. What is computed with them is computed in
bfloat16 under autocast, on tokens that stay float32: what every block adds is rounded, the sum is
not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

StoredDtype = Literal['float32', 'bfloat16']


def store_frozen(module: nn.Module, dtype: StoredDtype) -> None:
    """Rounds the matrices of a module that is frozen.

    Raises:
        ValueError: for another type.
    """
    if dtype not in ('float32', 'bfloat16'):
        raise ValueError(f"dtype={dtype!r} is unknown; choose 'float32' or 'bfloat16'")
    if dtype == 'bfloat16':
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.data = layer.weight.data.bfloat16()


def widen(parameter: nn.Parameter) -> None:
    """Gives float32 back to a parameter that is stored in 16 bits; others keep their type."""
    if parameter.dtype == torch.bfloat16:
        parameter.data = parameter.data.float()


def widen_trained(module: nn.Module) -> None:
    """Widens what trains, such as the last blocks that a tuning method unfreezes."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            widen(parameter)


@contextmanager
def computing(device: str, dtype: StoredDtype) -> Iterator[None]:
    """Autocast for weights in 16 bits, and nothing for others.

    The cache of autocast is left out: it would keep what is cast, and casting is free here.
    """
    if dtype == 'float32':
        yield
        return
    with torch.autocast(device, torch.bfloat16, cache_enabled=False):
        yield
