"""Whether schedules and intervals fit the length of the run, asked before its first step.

MMEngine takes any: a schedule of 80,000 iterations in a run of 160,000 trains half of it at rate 0,
and one that counts epochs in a run by iterations never moves. What wastes a run is an error; what a
short trial does on purpose (``train_cfg.max_iters=3``) is a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.optim import ConstantParamScheduler, LinearParamScheduler, _ParamScheduler
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop

from vitadapter_dense.training.accumulation import accumulated_batches
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.schedules import by_optimizer

_WARM_UPS = (ConstantParamScheduler, LinearParamScheduler)


@HOOKS.register_module()
class ScheduleCheckHook(Hook):
    """Compares schedules with the run; ``DenseRunner`` registers it by itself."""

    def before_run(self, runner: Any) -> None:
        """Warns about what does not fit.

        Raises:
            SettingsError: a schedule that never moves, or that ends at rate 0 before the run does.
        """
        loop = runner._train_loop
        if not isinstance(loop, BaseLoop):  # evaluation
            return
        schedulers = [
            s for group in by_optimizer(runner.param_schedulers or []).values() for s in group
        ]
        for fault in _wasted(loop, schedulers):
            raise SettingsError(fault)
        warnings = [*_odd_schedules(loop, schedulers), *_odd_intervals(runner, loop)]
        if warnings:
            lines = '\n'.join(f'  {line}' for line in warnings)
            print_log(
                f'the schedule and the length of the run differ:\n{lines}\nThis is well for a '
                'short trial; for a training set both (and --cfg-options the schedule too)',
                logger='current',
                level=logging.WARNING,
            )
        batches = accumulated_batches(runner.optim_wrapper)
        if batches > 1:
            print_log(
                f'accumulative_counts={batches}: {loop.max_iters} iterations are '
                f'{-(-loop.max_iters // batches)} optimiser steps. Schedules, intervals and '
                'EMAHook count iterations',
                logger='current',
            )


def _length(loop: Any, scheduler: _ParamScheduler) -> tuple[str, int]:
    """What counts the scheduler's steps, and how many there are."""
    if scheduler.by_epoch:
        return 'max_epochs', loop.max_epochs
    return 'max_iters', loop.max_iters


def _wasted(loop: Any, schedulers: list[_ParamScheduler]) -> Iterator[str]:
    for scheduler in schedulers:
        name = type(scheduler).__name__
        if scheduler.by_epoch and isinstance(loop, IterBasedTrainLoop):
            yield (
                f'{name} counts epochs (by_epoch=True, the default), and a run of '
                f'max_iters={loop.max_iters} has none: it would never change the '
                f'{scheduler.param_name}. Set by_epoch=False, and its end and milestones in '
                'iterations'
            )
            continue
        if isinstance(scheduler, _WARM_UPS) and scheduler.total_iters == 0:
            yield (
                f'{name} begins at {scheduler.begin} and ends at {scheduler.end}, one step later: '
                f'it lowers the {scheduler.param_name} and never raises it again. Set '
                f'end={scheduler.begin + 2} or more, or leave it out'
            )
        unit, length = _length(loop, scheduler)
        follows = any(
            other.by_epoch == scheduler.by_epoch and other.begin >= scheduler.end
            for other in schedulers
        )
        if _ends_at_zero(scheduler) and scheduler.end < length and not follows:
            yield (
                f'{name} ends at {scheduler.end} with {scheduler.param_name} 0, and the run at '
                f'train_cfg.{unit}={length}: nothing would be learnt in between. Set end={length} '
                f'in param_scheduler, or {unit}={scheduler.end}'
            )


def _ends_at_zero(scheduler: _ParamScheduler) -> bool:
    """Whether a schedule falls to 0 by its end: polynomials and cosines without a minimum."""
    low = {getattr(scheduler, key, None) for key in ('eta_min', 'eta_min_ratio')} - {None}
    period = getattr(scheduler, 'T_max', scheduler.end - scheduler.begin)
    whole = period == scheduler.end - scheduler.begin
    return low == {0} and whole and not hasattr(scheduler, 'periods')


def _odd_schedules(loop: Any, schedulers: list[_ParamScheduler]) -> Iterator[str]:
    for scheduler in schedulers:
        name = type(scheduler).__name__
        unit, length = _length(loop, scheduler)
        run = f'train_cfg.{unit}={length}'
        late = [m for m in getattr(scheduler, 'milestones', ()) if m >= length]
        if scheduler.begin >= length:
            yield f'{name} begins at {scheduler.begin}, after the run ({run})'
        elif late:
            yield f'{name} has milestones {late} after the run ({run})'
        elif scheduler.end > length and scheduler.end < 10**9:
            yield f'{name} ends at {scheduler.end}, after the run ({run}): it is cut off'


def _odd_intervals(runner: Any, loop: Any) -> Iterator[str]:
    unit = 'max_epochs' if isinstance(loop, EpochBasedTrainLoop) else 'max_iters'
    length = getattr(loop, unit)
    run = f'train_cfg.{unit}={length}'
    if runner._val_loop is not None:
        if loop.val_begin > length:
            yield f'val_begin={loop.val_begin}: there is no evaluation ({run})'
        elif loop.val_interval > length:
            yield f'val_interval={loop.val_interval}: there is one evaluation, at the end ({run})'
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook):
            continue
        unit, length = (
            ('max_epochs', loop.max_epochs) if hook.by_epoch else ('max_iters', loop.max_iters)
        )
        if hook.interval > length and not hook.save_last:
            yield (
                f'the checkpoint interval {hook.interval} is longer than the run '
                f'(train_cfg.{unit}={length}), and save_last=False: there is no checkpoint'
            )
