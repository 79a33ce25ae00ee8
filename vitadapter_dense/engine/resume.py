"""What a checkpoint must hold for a run to go on from it. Every check comes before any change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from torch import nn

from vitadapter_dense.encoders.weights import WeightsError, compare, state_dict_of


def check_content(checkpoint: Mapping[str, Any], filename: str, *, optimizer: bool) -> None:
    """Raises WeightsError unless the checkpoint has the entries of an interrupted run."""
    needed = ['state_dict', 'meta', 'message_hub', *(['optimizer'] if optimizer else [])]
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


def check_optimizer(optim_wrapper: Any, state: Mapping[str, Any], filename: str) -> None:
    """Raises WeightsError unless the parameter groups hold the same parameters."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        for name, wrapper in optim_wrapper.items():
            check_optimizer(wrapper, state.get(name, dict(param_groups=[])), filename)
        return
    saved, built = (
        [(group.get('param_names'), len(group['params'])) for group in groups]
        for groups in (state['param_groups'], optim_wrapper.optimizer.param_groups)
    )
    if saved != built:
        raise WeightsError(
            f'{filename!r} was trained with other parameter groups: {len(saved)} groups with '
            f'{sum(count for _, count in saved)} tensors, this config makes {len(built)} with '
            f'{sum(count for _, count in built)}. Keep optim_wrapper (constructor, frozen parts) '
            'as it was.'
        )


def pair_schedulers(built: Any, states: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Schedulers with their saved states; no pairs if the checkpoint has no schedulers.

    Args:
        built: this run's schedulers, a list or one list for each optimiser.
        states: what ``checkpoint_content.scheduler_states`` returned, or None.

    Raises:
        WeightsError: the numbers differ.
    """
    if states is None:
        return []
    if not isinstance(built, dict):
        built, states = {'': built}, {'': states}
    given = {name: len(group) for name, group in states.items()}
    wanted = {name: len(group) for name, group in built.items()}
    if given != wanted:
        raise WeightsError(
            f'the checkpoint was trained with {sum(given.values())} schedulers, this config makes '
            f'{sum(wanted.values())}; keep param_scheduler as it was'
        )
    return [pair for name in built for pair in zip(built[name], states[name], strict=True)]


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
