"""What a module computes in eval mode, told by its type, settings and tensors.

Two modules with the same description are the same function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import nn

from vitadapter_dense.checkpoints.checked_loading import hash_of
from vitadapter_dense.encoders.mixin import parts_of
from vitadapter_dense.tuning import Tuning

# attributes that say nothing about what a module computes in eval mode
_NO_SETTINGS = {
    *vars(nn.Module()),
    '_is_init',
    '_params_init_info',
    'block_hooks',
    'drop_path_rate',
    'drop_prob',
    'frozen',
    'frozen_stages',
    'init_cfg',
    'norm_eval',
    'pretrained',
    'skip_pretrained',
    'with_cp',
}


def described(module: nn.Module) -> str:
    """All that says what a module computes, without tuning methods in it.

    Parameters are told by their identity: those that two modules share are the same.
    """
    return digest([(name, _own(part)) for name, part in _parts(module)])


def has_hooks_inside(module: nn.Module) -> bool:
    """Whether a hook acts on anything that the module is made of."""
    _, *inside = module.modules()
    return any(
        child._forward_hooks or child._forward_pre_hooks
        for child in inside
        if not isinstance(child, Tuning)
    )


def is_nothing(module: nn.Module) -> bool:
    """Whether the module gives what it is given."""
    return type(module).__name__ in ('Identity', 'Dropout', 'DropPath')


def _parts(module: nn.Module, name: str = '') -> Iterator[tuple[str, nn.Module]]:
    yield name, module
    for key, child in module.named_children():
        if not (isinstance(child, Tuning) or is_nothing(child)):
            yield from _parts(child, f'{name}.{key}' if name else key)


def _own(module: nn.Module) -> list[Any]:
    """Type, tensors and settings of a module without its children."""
    settings = {key: value for key, value in vars(module).items() if key not in _NO_SETTINGS}
    return [*type_and_tensors(module), plain(settings)]


def type_and_tensors(module: nn.Module) -> list[Any]:
    """Type, parameters and buffers of a module without its children."""
    buffers = {key: tensor for key, tensor in module._buffers.items() if tensor is not None}
    return [
        [f'{part.__module__}.{part.__qualname__}' for part in parts_of(type(module))],
        {key: id(parameter) for key, parameter in module._parameters.items()},
        hash_of(buffers, sorted(buffers)),
    ]


def plain(value: Any) -> Any:
    """A value in a form whose ``repr`` tells it; what is unknown is equal to itself alone."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (tuple, list)):
        return [plain(entry) for entry in value]
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        name = f'{value.__module__}.{value.__qualname__}'
        return id(value) if '<' in name else name  # a function made in another may differ each time
    if value is None or isinstance(value, (str, bool, int, float, torch.dtype, torch.device)):
        return value
    return id(value)


def digest(value: Any) -> str:
    """A short form of what the ``repr`` of a value tells."""
    return hashlib.sha256(repr(value).encode()).hexdigest()
