"""Frozen modules that several backbones have in common, computed once for the same input.

A module gives what its twin in another backbone gave, where both are the same function (type,
settings, parameters and buffers are equal) and the input is the same. Every input is compared, so
that no result depends on what was shared. Modules are looked for in the order in which they are
registered, up to the first that a tuning method concerns: what comes later sees other features.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import local
from typing import Any

import torch
from torch import Tensor, nn

from vitadapter_dense.encoders.mixin import Mixin, mix_in, parts_of
from vitadapter_dense.tuning import Tuning

_SCALARS = (bool, int, float, str)
# attributes that say nothing about what a module computes in eval mode
_NOT_SETTINGS = {
    'drop_path_rate',
    'frozen',
    'frozen_stages',
    'init_cfg',
    'norm_eval',
    'pretrained',
    'skip_pretrained',
    'training',
    'with_cp',
}
_NOTHING_IN_EVAL = ('Identity', 'Dropout', 'DropPath')


class LastResult(local):
    """Input and output of the last call of a shared module, while it is open.

    Each thread has its own: two that serve the same model know nothing of each other.

    Attributes:
        computed: how often the module ran while open.
        reused: how often it did not have to.
    """

    def __init__(self) -> None:
        self.computed = self.reused = 0
        self._open = False
        self._key: Any = None
        self._output: Any = None
        self._versions: list[int] = []

    def __reduce__(self) -> tuple[type, tuple]:
        return LastResult, ()  # a copy starts with nothing

    def open(self) -> None:
        """From now on the last result is kept."""
        self._open = True

    def close(self) -> None:
        """Forgets the result; from now on none is kept."""
        self._open, self._key, self._output = False, None, None

    def of(self, forward: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What ``forward(*args, **kwargs)`` gives."""
        if not self._open or torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return forward(*args, **kwargs)
        key = (args, kwargs, _precision())
        # what has been changed in place since then (ReLUs do so) is no result any more
        intact = self._key is not None and self._versions == _versions((self._key, self._output))
        if intact and _same(key, self._key):
            self.reused += 1
            return self._output
        self.computed += 1
        before = _versions(key)
        self._key, self._output = key, forward(*args, **kwargs)
        self._versions = before + _versions(self._output)
        return self._output


class _Shared(Mixin):
    """A module whose result may be its twin's; mixed into its class."""

    last_result: LastResult

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own, or what it gave before."""
        return self.last_result.of(super().forward, args, kwargs)


def _kind(module: nn.Module) -> tuple[type, ...]:
    """What the module is apart from sharing its result."""
    return tuple(part for part in parts_of(type(module)) if part is not _Shared)


def share_passes(first: nn.Module, second: nn.Module) -> dict[str, LastResult]:
    """Lets the largest modules that two backbones have in common give each other's results.

    Args:
        first: a backbone in eval mode.
        second: another, with the same parameters (not copies of them) where both froze them.

    Returns:
        What is shared, by the modules' names; ``''`` is the whole backbone.
    """
    shared: dict[str, LastResult] = {}
    if _injects(first) or _injects(second):
        return shared
    sites = _sites(first) | _sites(second)
    for name in _common_modules(first, second, sites):
        pair = first.get_submodule(name), second.get_submodule(name)
        known = [module.last_result for module in pair if isinstance(module, _Shared)]
        result = known[0] if known else LastResult()
        for module in pair:
            if not isinstance(module, _Shared):
                mix_in(module, _Shared)
                module.last_result = result
        shared[name] = result
    return shared


def _injects(backbone: nn.Module) -> bool:
    """Whether an adapter changes the encoder's tokens from the first block on."""
    interactions = getattr(backbone, 'interactions', ())
    return any(interaction.injector is not None for interaction in interactions)


def _sites(backbone: nn.Module) -> set[str]:
    """What the tuning method of a backbone concerns, by names in the backbone."""
    tuning = getattr(backbone, 'tuning', None)
    prefix = 'encoder.' if hasattr(backbone, 'encoder') else ''
    return set() if tuning is None else {f'{prefix}{site}' for site in tuning.sites}


def _common_modules(first: nn.Module, second: nn.Module, sites: set[str]) -> Iterator[str]:
    """Names of the largest modules before (and at) the first site that both backbones share."""

    def visit(one: nn.Module, other: nn.Module, name: str) -> Iterator[str]:
        """Yields names; returns whether the features are still the same after the module."""
        start = f'{name}.' if name else ''
        inside = any(site.startswith(start) for site in sites - {name})
        is_called = type(one).forward is not nn.Module.forward
        if is_called and not inside and _has_parameters(one) and _are_twins(one, other):
            yield name
            yield from _steps(one, start)
            return name not in sites
        if name in sites:
            return False
        children = dict(other.named_children())
        for key, child in one.named_children():
            if isinstance(child, Tuning) or not _has_parameters(child):
                continue
            same = key in children and (yield from visit(child, children[key], f'{start}{key}'))
            if not same:
                return False
        return not (is_called and _has_parameters(one, recurse=False))

    yield from visit(first, second, '')


def _steps(module: nn.Module, start: str) -> Iterator[str]:
    """Names of the modules in a sequence, whose owner may call them one by one."""
    for key, child in module.named_children() if isinstance(module, nn.Sequential) else ():
        if _has_parameters(child):
            yield f'{start}{key}'
            yield from _steps(child, f'{start}{key}.')


def _has_parameters(module: nn.Module, *, recurse: bool = True) -> bool:
    return any(True for _ in module.parameters(recurse=recurse))


def _are_twins(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are the same function; tuning methods in them do not count."""
    these, those = dict(_modules(one)), dict(_modules(other))
    return these.keys() == those.keys() and all(
        _is_same_module(this, those[name], hooked=name != '') for name, this in these.items()
    )


def _modules(module: nn.Module, name: str = '') -> Iterator[tuple[str, nn.Module]]:
    yield name, module
    for key, child in module.named_children():
        if not isinstance(child, Tuning):
            yield from _modules(child, f'{name}.{key}' if name else key)


def _is_same_module(one: nn.Module, other: nn.Module, *, hooked: bool) -> bool:
    """Compares two modules without their children; ``hooked``: no hook may act on either."""
    if hooked and any(m._forward_hooks or m._forward_pre_hooks for m in (one, other)):
        return False
    if one.training or other.training:
        return False
    if all(type(m).__name__ in _NOTHING_IN_EVAL for m in (one, other)):
        return True
    if _kind(one) != _kind(other):
        return False
    if _settings(one) != _settings(other) or one._parameters.keys() != other._parameters.keys():
        return False
    if any(own is not other._parameters[key] for key, own in one._parameters.items()):
        return False
    return _same(dict(one._buffers), dict(other._buffers))


def _settings(module: nn.Module) -> dict[str, Any]:
    """Public attributes that are plain values."""
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith('_') and key not in _NOT_SETTINGS and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, _SCALARS)


def _precision() -> list[Any]:
    return [
        torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        for kind in ('cpu', 'cuda')
    ]


def _versions(value: Any) -> list[int]:
    """How often each tensor in nested containers has been changed in place."""
    if isinstance(value, Tensor):
        return [value._version]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [version for entry in value for version in _versions(entry)]
    return []


def _same(one: Any, other: Any) -> bool:
    """Whether nested containers hold the same; tensors are compared by value."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        return alike and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other
