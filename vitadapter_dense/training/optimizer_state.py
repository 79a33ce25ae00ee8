"""The optimiser of a resumed run: its moments are the checkpoint's, all else is the config's.

MMEngine loads an optimiser's state as a whole, and with it the old learning rates, weight decay,
betas and loss scaling. Here the groups hold the names of their parameters, so that the
moments find them in other groups too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.checkpoints.sharded_tensors import shard_like

_NAMES = 'param_names'


def wrappers_of(optim_wrapper: Any) -> dict[str, OptimWrapper]:
    """The plain wrappers by name; the name of a single one is empty."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return dict(optim_wrapper.items())
    return {'': optim_wrapper}


def name_parameters(optim_wrapper: Any, model: nn.Module) -> None:
    """Notes in the optimiser's groups how their parameters are called; the state then says so."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for wrapper in wrappers_of(optim_wrapper).values():
        for group in wrapper.optimizer.param_groups:
            found = [names.get(id(parameter)) for parameter in group['params']]
            if None not in found:
                group[_NAMES] = found


def check_optimizer(optim_wrapper: Any, state: Mapping[str, Any], filename: str) -> None:
    """Logs which options of the optimiser are others than the checkpoint's.

    Raises:
        WeightsError: the state is another optimiser's, or its parameters cannot be told.
    """
    for wrapper, saved in _pairs(optim_wrapper, state):
        _check_type(wrapper, saved, filename)
        total = sum(len(group['params']) for group in wrapper.optimizer.param_groups)
        without = total - len(_origins(wrapper, saved, filename))
        if without:
            print_log(
                f'{without} of {total} trained tensors are not in the optimiser of {filename!r} '
                'and start without moments',
                logger='current',
                level=logging.WARNING,
            )
        for line in _other_options(wrapper, saved):
            print_log(
                f'the optimiser takes over from this config: {line}',
                logger='current',
                level=logging.WARNING,
            )


def load_moments(optim_wrapper: Any, state: Mapping[str, Any], filename: str) -> None:
    """Loads what the optimiser has gathered, and leaves its options as they were built.

    Args:
        optim_wrapper: the built one.
        state: the saved one.
        filename: of the checkpoint, for the message.
    """
    for wrapper, saved in _pairs(optim_wrapper, state):
        own = wrapper.optimizer.state_dict()
        parameters = [p for group in wrapper.optimizer.param_groups for p in group['params']]
        loaded = dict(
            param_groups=own['param_groups'],
            state={
                number: _sharded_as(parameters[number], saved['state'][origin])
                for number, origin in _origins(wrapper, saved, filename).items()
                if origin in saved['state']
            },
        )
        scaler = getattr(wrapper, 'loss_scaler', None)
        dynamic = getattr(wrapper, '_scale_update_param', None) is None
        if scaler is not None and scaler.is_enabled() and dynamic and saved.get('loss_scaler'):
            where = {key: saved['loss_scaler'][key] for key in ('scale', '_growth_tracker')}
            loaded['loss_scaler'] = {**scaler.state_dict(), **where}
        wrapper.load_state_dict(loaded)


def _sharded_as(parameter: Tensor, moments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: shard_like(value, parameter) if isinstance(value, Tensor) else value
        for name, value in moments.items()
    }


def _pairs(
    optim_wrapper: Any, state: Mapping[str, Any]
) -> Iterator[tuple[OptimWrapper, Mapping[str, Any]]]:
    for name, wrapper in wrappers_of(optim_wrapper).items():
        yield wrapper, state.get(name, dict(param_groups=[], state={})) if name else state


def _check_type(wrapper: OptimWrapper, saved: Mapping[str, Any], filename: str) -> None:
    """Options tell types apart: SGD has momentum, Adam has betas."""
    telling = {'momentum', 'betas', 'alpha', 'rho', 'etas', 'lambd', 'max_iter', 'lr_decay'}
    kind, own = type(wrapper.optimizer).__name__, telling & set(wrapper.optimizer.defaults)
    for group in saved['param_groups']:
        lacking = own - set(group)
        if lacking:
            raise WeightsError(
                f'{filename!r} was trained with another optimiser: its options '
                f'{sorted(set(group) - {"params", _NAMES})} lack {sorted(lacking)}, which {kind} '
                'needs. Keep optim_wrapper.optimizer.type, or use load_from without resume'
            )


def _origins(wrapper: OptimWrapper, saved: Mapping[str, Any], filename: str) -> dict[int, int]:
    """Number of a parameter in the saved state, by its number in the built optimiser.

    By name where both have names, else by place, which needs the same groups.
    """
    own = wrapper.optimizer.state_dict()['param_groups']
    old = saved['param_groups']
    if all(_NAMES in group for group in old) and all(_NAMES in group for group in own):
        numbers = dict(_numbered(old))
        return {number: numbers[name] for name, number in _numbered(own) if name in numbers}
    sizes = [[len(group['params']) for group in groups] for groups in (old, own)]
    if sizes[0] != sizes[1]:
        raise WeightsError(
            f'{filename!r} was trained with other parameter groups, and does not name their '
            f'parameters: {len(old)} groups with {sum(sizes[0])} tensors, this config makes '
            f'{len(own)} with {sum(sizes[1])}. Keep optim_wrapper (constructor, frozen parts) as '
            'it was, or use load_from without resume'
        )
    return {
        number: origin
        for mine, its in zip(own, old, strict=True)
        for number, origin in zip(mine['params'], its['params'], strict=True)
    }


def _numbered(groups: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    for group in groups:
        yield from zip(group[_NAMES], group['params'], strict=True)


def _other_options(wrapper: OptimWrapper, saved: Mapping[str, Any]) -> Iterator[str]:
    """Option by option the values of all groups, where they differ; rates as without schedules."""
    groups = saved['param_groups'], wrapper.optimizer.param_groups
    for key in wrapper.optimizer.defaults:
        if key == 'betas' and any('initial_momentum' in group for group in groups[0]):
            continue  # a momentum scheduler has changed them
        old, new = (
            sorted({repr(group.get(f'initial_{key}', group.get(key))) for group in its})
            for its in groups
        )
        # What a newer torch has added is in no old checkpoint.
        if old != new and old != ['None']:
            yield f'{key} {_some(new)}, in the checkpoint {_some(old)}'


def _some(values: list[str]) -> str:
    return ', '.join(values[:4]) + (f' and {len(values) - 4} more' if len(values) > 4 else '')
