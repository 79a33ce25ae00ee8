"""Schedulers of a resumed run: those of this config, at the checkpoint's position.

A scheduler of MMEngine makes each rate from the one before, and its saved state brings its old end
and milestones back. So a resume takes nothing from the checkpoint but the position, and lets the
schedulers of this config run there: the rates are those of a new run at that step.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from mmengine.optim import _ParamScheduler

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.training.optimizer_state import wrappers_of

# Where a scheduler stands, what it has measured, and whether it talks.
_COURSE = {'last_step', '_global_step', '_last_value', 'verbose'}
_MEASURED = {'best', 'num_bad_epochs', 'cooldown_counter', 'end'}


def by_optimizer(schedulers: Any) -> dict[str, list[_ParamScheduler]]:
    """The schedulers of every optimiser; the name of a single one is empty."""
    return schedulers if isinstance(schedulers, dict) else {'': schedulers}


def is_measured(schedulers: Any) -> bool:
    """Whether rates depend on evaluations (``ReduceOnPlateau*``), so that no step tells them."""
    groups = by_optimizer(schedulers).values()
    return any(getattr(s, 'need_val_args', False) for group in groups for s in group)


def advance(schedulers: Any, *, iteration: int, epoch: int, epoch_length: int) -> None:
    """Takes new schedulers, and the rates of their optimisers, to a position in the run.

    Args:
        schedulers: just built, a list or one list for each optimiser.
        iteration: finished iterations.
        epoch: finished epochs; 0 in a run by iterations.
        epoch_length: iterations of an epoch.
    """
    if not epoch * epoch_length <= iteration <= (epoch + 1) * epoch_length and epoch:
        epoch_length = iteration // epoch  # the epochs behind had another length
    for group in by_optimizer(schedulers).values():
        talking = [scheduler.verbose for scheduler in group]
        for scheduler in group:
            scheduler.verbose = False
        with warnings.catch_warnings():  # there are no optimiser steps in between
            warnings.simplefilter('ignore', UserWarning)
            _run(group, iteration, epoch, epoch_length)
        for scheduler, verbose in zip(group, talking, strict=True):
            scheduler.verbose = verbose


def _run(group: list[_ParamScheduler], iteration: int, epoch: int, epoch_length: int) -> None:
    """In the order of a run: schedules by iteration after each, then those by epoch."""
    by_iteration = [scheduler for scheduler in group if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in group if scheduler.by_epoch]
    for number in range(epoch + 1):
        last = number == epoch
        for _ in range(iteration - epoch * epoch_length if last else epoch_length):
            _step(by_iteration)
        if not last:
            _step(by_epoch)
    for scheduler in group:
        scheduler._last_value = [
            parameters[scheduler.param_name] for parameters in scheduler.optimizer.param_groups
        ]


def _step(group: list[_ParamScheduler]) -> None:
    for scheduler in group:
        if scheduler._global_step + 1 < scheduler.end:
            scheduler.step()
        else:  # it would do no more than count, and long runs have hundreds of groups
            scheduler._global_step += 1


def load_measured(
    schedulers: Any, states: Any, optim_wrapper: Any, saved: Mapping[str, Any]
) -> None:
    """Loads schedulers of which one depends on evaluations, with the rates that they have made.

    Args:
        schedulers: just built.
        states: their saved states.
        optim_wrapper: the wrapper, whose rates are set.
        saved: its saved state.

    Raises:
        WeightsError: the settings differ, so that nothing tells the rates. Nothing has been
            changed then.
    """
    if states is None:
        raise WeightsError(
            'the checkpoint has no states of schedulers, which ReduceOnPlateau needs (checkpoint '
            'hook: save_param_scheduler=True); take another param_scheduler, or use load_from'
        )
    pairs = pair_schedulers(schedulers, states)
    rates = []
    for name, wrapper in wrappers_of(optim_wrapper).items():
        groups = (saved[name] if name else saved)['param_groups']
        scheduled = {scheduler.param_name for scheduler in by_optimizer(schedulers)[name]}
        if 'momentum' in scheduled:
            scheduled.add('betas')
        starts = [
            [[group.get(f'initial_{key}') for key in sorted(scheduled)] for group in its]
            for its in (groups, wrapper.optimizer.param_groups)
        ]
        if starts[0] != starts[1]:
            raise WeightsError(
                f'the rates before any schedule were {starts[0]} and are {starts[1]} now; '
                'ReduceOnPlateau cannot be resumed with others. Keep them, or use load_from'
            )
        for group, own in zip(groups, wrapper.optimizer.param_groups, strict=True):
            rates.append((own, {key: group[key] for key in scheduled if key in group}))
    for own, values in rates:
        own.update(values)
    for scheduler, state in pairs:
        scheduler.load_state_dict({k: v for k, v in state.items() if k != 'end'})


def pair_schedulers(built: Any, states: Any) -> list[tuple[_ParamScheduler, dict[str, Any]]]:
    """Schedulers with their saved states, which are of no use to schedulers of other settings.

    Args:
        built: this run's schedulers, a list or one list for each optimiser.
        states: what ``checkpoint_content.scheduler_states`` returned.

    Raises:
        WeightsError: the numbers or the settings differ. The end of a measured one may.
    """
    built, states = by_optimizer(built), by_optimizer(states)
    given = {name: len(group) for name, group in states.items()}
    wanted = {name: len(group) for name, group in built.items()}
    if given != wanted:
        raise WeightsError(
            f'the checkpoint was trained with {sum(given.values())} schedulers, this config makes '
            f'{sum(wanted.values())}; keep param_scheduler as it was'
        )
    pairs = [pair for name in built for pair in zip(built[name], states[name], strict=True)]
    for scheduler, state in pairs:
        own = scheduler.state_dict()
        course = _COURSE | (_MEASURED if getattr(scheduler, 'need_val_args', False) else set())
        for key in sorted(own.keys() & state.keys() - course):
            before, now = _plain(state[key]), _plain(own[key])
            if before != now:
                raise WeightsError(
                    f'{type(scheduler).__name__} had {key}={before} in the checkpoint and has '
                    f'{key}={now} here: its state does not fit. Keep param_scheduler as it was'
                )
    return pairs


def _plain(value: Any) -> Any:
    """The value as a checkpoint keeps it: counters as mappings, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
