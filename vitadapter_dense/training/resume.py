"""What a checkpoint must hold for a run to go on from it. Every check comes before any change."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from vitadapter_dense.checkpoints.checked_loading import WeightsError, compare, state_dict_of
from vitadapter_dense.training.optimizer_state import check_optimizer
from vitadapter_dense.training.resume_settings import Change, changes, listed
from vitadapter_dense.training.schedules import pair_schedulers
from vitadapter_dense.tuning.delta import is_delta

__all__ = [
    'check_content',
    'check_model',
    'check_optimizer',
    'check_position',
    'check_settings',
    'own_random_state',
    'pair_schedulers',
]


def check_content(checkpoint: Mapping[str, Any], filename: str, *, optimizer: bool) -> None:
    """Raises WeightsError unless the checkpoint has the entries of an interrupted run."""
    needed = ['state_dict', 'meta', 'message_hub', *(['optimizer'] if optimizer else [])]
    if is_delta(checkpoint):
        raise WeightsError(
            f'{filename!r} holds only what was tuned, and cannot be resumed: resume the whole '
            'checkpoint that was saved beside it, or use load_from without resume'
        )
    lacking = [key for key in needed if key not in checkpoint]
    if lacking:
        raise WeightsError(
            f'{filename!r} cannot be resumed, it lacks {lacking}; use load_from without resume to '
            'start a new run from its weights'
        )


def check_model(model: nn.Module, checkpoint: Mapping[str, Any], filename: str) -> None:
    """Raises WeightsError with the report unless every name and shape agrees."""
    report = compare(model, state_dict_of(checkpoint))
    if report.missing or report.mismatched or report.unexpected:
        raise WeightsError(
            f'{filename!r} is of another model and cannot be resumed. Use its own config, or '
            f'load_from without resume.\n{report}'
        )


def check_settings(
    checkpoint: Mapping[str, Any],
    runner: Runner,
    filename: str,
    *,
    config_text: str | None,
    seed: int | None,
) -> list[Change]:
    """Compares what the checkpoint was trained with and what this run is asked for.

    Settings that a resume takes over are logged, and so are those that would stop it, if the run
    accepts changes (``accept_changes=True`` in the config).

    Args:
        checkpoint: what was read.
        runner: this run.
        filename: the checkpoint's name in messages.
        config_text: this run's config; None or empty compares no texts.
        seed: the seed that this run is asked for; None takes the checkpoint's.

    Returns:
        The changes that stop a run, and were accepted.

    Raises:
        WeightsError: there are such changes, and they are not accepted; or the checkpoint lies
            behind the end of this run.
    """
    found = [
        *_other_texts(checkpoint, filename, config_text),
        *_other_run(checkpoint, runner, seed),
    ]
    taken = [change for change in found if change.effect == 'taken over']
    stopping = [change for change in found if change.effect == 'stops']
    if taken:
        print_log(f'the resume takes over from this config:\n{listed(taken)}', logger='current')
    if not stopping:
        return []
    if not runner.cfg.get('accept_changes', False):
        raise WeightsError(
            f'{filename!r} was trained with other settings, and going on would mix the two:\n'
            f'{listed(stopping)}\nTake the settings of the checkpoint, start a new run from its '
            'weights with --load-from, or go on all the same with --accept-changes '
            '(accept_changes=True in the config); docs/resume.md says what each setting does'
        )
    print_log(
        f'the run goes on with changed settings, as accepted:\n{listed(stopping)}',
        logger='current',
        level=logging.WARNING,
    )
    return stopping


def _other_texts(
    checkpoint: Mapping[str, Any], filename: str, config_text: str | None
) -> list[Change]:
    """From the texts of the configs; what the seed became is told by the checkpoint itself."""
    if not (checkpoint['meta'].get('cfg') and config_text):
        return []
    try:
        found = changes(checkpoint['meta']['cfg'], config_text)
    except ValueError as error:
        print_log(
            f'{filename!r} is not compared with this config: {error}',
            logger='current',
            level=logging.WARNING,
        )
        return []
    return [change for change in found if change.key != 'randomness.seed']


def _other_run(checkpoint: Mapping[str, Any], runner: Runner, seed: int | None) -> Iterator[Change]:
    """From what the checkpoint itself says of its run."""
    saved = checkpoint['meta'].get('seed')
    if seed is not None and saved not in (None, seed):
        yield Change('randomness.seed', saved, seed)
    random_state = checkpoint.get('random_state') or {}
    processes = len(random_state.get('processes', ()))
    if processes not in (0, runner.world_size):
        yield Change('number of processes', processes, runner.world_size)
        return
    data = random_state.get('data')
    if data and hasattr(runner.train_loop, 'batches'):
        length = len(runner.train_loop.batches)
        if data['batches_per_epoch'] != length:
            yield Change('batches an epoch', data['batches_per_epoch'], length)


def check_position(checkpoint: Mapping[str, Any], runner: Runner, filename: str) -> None:
    """Raises WeightsError if the checkpoint lies behind the end of this run."""
    loop, meta = runner.train_loop, checkpoint['meta']
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    name, unit = ('max_epochs', 'epoch') if by_epoch else ('max_iters', 'iter')
    done, end = meta[unit], getattr(loop, name)
    if done > end:
        raise WeightsError(
            f'{filename!r} was taken after {unit} {done}, and this run ends at {end}: nothing is '
            f'left to train. Set train_cfg.{name} above {done}, or take an earlier checkpoint'
        )
    if done == end:
        print_log(
            f'{filename!r} is the end of this run ({name}={end}): nothing is left to train',
            logger='current',
            level=logging.WARNING,
        )


def own_random_state(
    checkpoint: Mapping[str, Any], rank: int, world_size: int
) -> Mapping[str, Any] | None:
    """The random state of process ``rank``; None, with a warning, if the run cannot be repeated."""
    if 'random_state' not in checkpoint:
        reason = 'the checkpoint holds no random state'
    elif len(checkpoint['random_state']['processes']) != world_size:
        saved = len(checkpoint['random_state']['processes'])
        reason = f'the checkpoint is of {saved} processes, this run has {world_size}'
    else:
        return checkpoint['random_state']['processes'][rank]
    print_log(
        f'{reason}: the run goes on, but will not repeat an uninterrupted one',
        logger='current',
        level=logging.WARNING,
    )
    return None
