"""What a state dict and a model have in common: the load report, checked loading.

Reading files is :mod:`vitadapter_dense.checkpoints.reading`'s work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitadapter_dense.checkpoints.reading import (
    WeightsError,
    read_checkpoint,
    state_dict_of,
)
from vitadapter_dense.checkpoints.sharded_tensors import own_part, whole

__all__ = [
    'LoadReport',
    'WeightsError',
    'check_fit',
    'compare',
    'converted_for',
    'hash_of',
    'load_checked',
    'read_checkpoint',
    'state_dict_of',
]


#: what training frameworks put before every name of a whole model
_WRAPPER_PREFIXES = ('model.', '_orig_mod.', 'model._orig_mod.', 'net.')


@dataclass(frozen=True)
class LoadReport:
    """What a state dict and a module have in common.

    Attributes:
        matched: names whose tensors fit.
        missing: names of the module that the state dict lacks.
        unexpected: names of the state dict that the module lacks.
        mismatched: ``(name, shape in the state dict, shape in the module)``.
        share: matched share of the module's parameters, counted by element, from 0 to 1.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    share: float

    @property
    def percent(self) -> str:
        """The share in percent; what lacks little is not rounded to the whole."""
        return f'{self.share if self.share == 1 else min(self.share, 0.999):.1%}'

    def __str__(self) -> str:
        shapes = [f'{name} (file {got}, model {want})' for name, got, want in self.mismatched]
        lines = [
            f'matched {len(self.matched)} ({self.percent} of the parameters), '
            f'missing {len(self.missing)}, unexpected {len(self.unexpected)}, '
            f'of another shape {len(self.mismatched)}'
        ]
        for title, names in (
            ('missing', self.missing),
            ('unexpected', self.unexpected),
            ('of another shape', shapes),
        ):
            if names:
                more = f' and {len(names) - 8} more' if len(names) > 8 else ''
                lines.append(f'  {title}: {", ".join(names[:8])}{more}')
        return '\n'.join(lines)


def hash_of(state_dict: Mapping[str, Tensor], names: Iterable[str]) -> str:
    """SHA-256 over names, types, shapes and values of tensors, in the order of ``names``."""
    digest = hashlib.sha256()
    for name in names:
        tensor = whole(state_dict[name].detach()).cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def converted_for(module: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict after the modules' own load hooks, which rename what they recognise.

    What Lightning or ``torch.compile`` put before all names is taken off where that fits better.
    """
    converted = _without_wrapper(state_dict, module.state_dict().keys())
    for name, child in module.named_modules():
        for hook in child._load_state_dict_pre_hooks.values():
            hook(converted, f'{name}.' if name else '', {}, True, [], [], [])
    return converted


def _without_wrapper(state_dict: Mapping[str, Tensor], wanted: Container[str]) -> dict[str, Tensor]:
    def fitting(names: Iterable[str]) -> int:
        return sum(name in wanted for name in names)

    best = dict(state_dict)
    for prefix in _WRAPPER_PREFIXES:
        bare = {name.removeprefix(prefix): tensor for name, tensor in state_dict.items()}
        if fitting(bare) > fitting(best):
            best = bare
    return best


def compare(module: nn.Module, state_dict: Mapping[str, Tensor]) -> LoadReport:
    """Compares a state dict with a module, name by name, after the modules' load hooks."""
    given, wanted = converted_for(module, state_dict), module.state_dict()
    matched, mismatched = [], []
    for name in wanted.keys() & given.keys():
        got, want = tuple(given[name].shape), tuple(wanted[name].shape)
        if got == want:
            matched.append(name)
        else:
            mismatched.append((name, got, want))
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    total = sum(sizes.values())
    covered = sum(sizes.get(name, 0) for name in matched)
    return LoadReport(
        matched=tuple(sorted(matched)),
        missing=tuple(name for name in wanted if name not in given),
        unexpected=tuple(name for name in given if name not in wanted),
        mismatched=tuple(sorted(mismatched)),
        share=covered / total if total else 1.0,
    )


def check_fit(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    min_share: float = 0.5,
    what: str = 'checkpoint',
) -> LoadReport:
    """Raises unless a state dict fits a module; changes nothing.

    Args:
        module: what to load into.
        state_dict: tensors by name; the module's load hooks may rename them.
        min_share: least share of the module's parameters, by element, that must match.
        what: what the weights are, for the message.

    Raises:
        WeightsError: less than ``min_share`` matched, an encoder is of another width or depth (a
            child's ``check_state_dict`` says so), or values are NaN or infinite.
    """
    converted = converted_for(module, state_dict)
    for name, child in module.named_modules():
        if hasattr(child, 'check_state_dict'):
            child.check_state_dict(converted, f'{name}.' if name else '', what=what)
    report = compare(module, state_dict)
    if report.share < min_share:
        raise WeightsError(
            f'the {what} does not fit the model: {report.percent} of the parameters matched, at '
            f'least {min_share:.0%} must. Choose the checkpoint of this architecture, or the '
            f'config of this checkpoint.\n{report}'
        )
    broken = broken_names({name: converted[name] for name in report.matched}, module)
    if broken:
        raise WeightsError(
            f'the {what} holds values that are NaN or infinite, in {len(broken)} of its tensors, '
            f'the first {broken[0]}. Take an earlier one, or another file'
        )
    return report


def broken_names(state_dict: Mapping[str, Any], model: nn.Module) -> list[str]:
    """The parameters and running statistics of a state that are not finite.

    Other buffers may hold infinities (masks). Of a sharded state each process sees its own part.

    Args:
        state_dict: the state, on any device.
        model: whose state it is.
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    names += [name for name in state_dict if name.endswith(('running_mean', 'running_var'))]
    return [
        name
        for name in names
        if isinstance(value := state_dict.get(name), Tensor)
        and value.is_floating_point()
        and not bool(own_part(value).isfinite().all())
    ]


def load_checked(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    min_share: float = 0.5,
    what: str = 'checkpoint',
) -> LoadReport:
    """Loads what matches, or nothing if too little does; see :func:`check_fit`.

    Raises:
        WeightsError: the state dict does not fit; the module is untouched.
    """
    report = check_fit(module, state_dict, min_share=min_share, what=what)
    converted = converted_for(module, state_dict)
    module.load_state_dict({name: converted[name] for name in report.matched}, strict=False)
    return report
