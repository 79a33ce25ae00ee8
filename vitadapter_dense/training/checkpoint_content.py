"""What a checkpoint of ``DenseRunner`` holds; ``resume.py`` is the other end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import mmengine
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn


def checkpoint_of(
    runner: Runner,
    meta: Mapping[str, Any],
    *,
    model: nn.Module,
    states: Sequence[Mapping[str, Any]],
    begun: Mapping[str, Any],
    optimizer: bool,
    schedulers: bool,
) -> dict[str, Any]:
    """Gathers a checkpoint of a run.

    Args:
        runner: the run.
        meta: what its ``meta`` starts from; ``epoch`` and ``iter`` must be in it.
        model: the model as it is saved, without a wrapper around it.
        states: what ``random_state`` returned in every process.
        begun: what ``begun_steps`` returned.
        optimizer: save what a resume needs besides the schedulers: optimiser and random state.
        schedulers: save the schedulers.

    Raises:
        TypeError: the optimiser is wanted, and has not been built yet.
    """
    meta = dict(
        meta,
        seed=runner.seed,
        experiment_name=runner.experiment_name,
        time=time.strftime('%Y%m%d_%H%M%S', time.localtime()),
        mmengine_version=mmengine.__version__,
    )
    if hasattr(runner.train_dataloader.dataset, 'metainfo'):
        meta.update(dataset_meta=runner.train_dataloader.dataset.metainfo)
    checkpoint = dict(
        meta=meta,
        state_dict=model.state_dict(),
        message_hub=runner.message_hub.state_dict(),
    )
    if optimizer:
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            raise TypeError(f'there is no optimiser to save yet, only {runner.optim_wrapper}')
        checkpoint['optimizer'] = runner.optim_wrapper.state_dict()
        data = None
        if hasattr(runner.train_loop, 'data_state'):
            data = runner.train_loop.data_state(meta['epoch'], meta['iter'])
        checkpoint['random_state'] = dict(processes=list(states), data=data)
        if begun:
            checkpoint['begun_steps'] = dict(begun)
    if schedulers and runner.param_schedulers is not None:
        checkpoint['param_schedulers'] = scheduler_states(runner.param_schedulers)
    return checkpoint


def scheduler_states(schedulers: Any) -> Any:
    """The schedulers' states in the order, or by the names, of the schedulers."""
    if isinstance(schedulers, dict):
        return {name: scheduler_states(group) for name, group in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers]
