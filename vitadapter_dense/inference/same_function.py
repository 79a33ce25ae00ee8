"""Whether two modules are one function in eval mode, by their classes, settings and tensors."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitadapter_dense.inference.run_once import RunsOnce
from vitadapter_dense.tuning import Tuning

# attributes that say nothing about what a module computes in eval mode, or that its parts say
_NO_SETTINGS = {
    *vars(nn.Module()),
    *('_is_init', '_params_init_info', 'init_cfg', 'pretrained', 'skip_pretrained', 'with_cp'),
    *('frozen', 'frozen_stages', 'norm_eval', 'drop_path_rate', 'drop_prob', 'block_hooks'),
    *('model_name', '_image_args', 'depth', 'pretrained_depth', 'window_sizes'),
}


def same_function(one: nn.Module, other: nn.Module, *, but: str | None = None) -> bool:
    """Whether two modules compute the same, tuning methods and the child ``but`` left out.

    Parameters have to be the same objects, everything else equal.
    """
    if _is_nothing(one) and _is_nothing(other):
        return True
    parts, others = _parts(one, but), _parts(other, but)
    return (
        type(one) is type(other)
        and same_values(_own(one), _own(other))
        and parts.keys() == others.keys()
        and all(same_function(part, others[name]) for name, part in parts.items())
    )


def same_values(one: Any, other: Any) -> bool:
    """Equality of settings and tensors; an object of an unknown kind is equal to itself alone."""
    if one is other:
        return True
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(same_values, one, other))
    if type(one) is not type(other) or isinstance(one, nn.Parameter):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_values(one[key], other[key]) for key in one)
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if is_dataclass(one):
        return same_values(vars(one), vars(other))
    return isinstance(one, (str, int, float, torch.dtype, torch.device)) and one == other


def _own(module: nn.Module) -> list[dict[str, Any]]:
    """Settings, parameters and buffers of a module."""
    settings = {
        name: value
        for name, value in vars(module).items()
        if not (name in _NO_SETTINGS or isinstance(value, RunsOnce))
    }
    return [settings, dict(module._parameters), dict(module._buffers)]


def _parts(module: nn.Module, but: str | None) -> dict[str, nn.Module]:
    return {
        name: child
        for name, child in module.named_children()
        if not (name == but or isinstance(child, Tuning) or _is_nothing(child))
    }


def _is_nothing(module: nn.Module) -> bool:
    """Whether the module gives what it is given."""
    return type(module).__name__ in ('Identity', 'Dropout', 'DropPath')
