"""Gradients of an optimiser step that is not done: batches that were accumulated so far.

Without them a run that resumes between two steps would take a step of a part of its batches.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from vitadapter_dense.checkpoints.sharded_tensors import own_part, shard_like
from vitadapter_dense.training.optimizer_state import wrappers_of


def accumulated_batches(optim_wrapper: Any) -> int:
    """Batches of one process that make an optimiser step."""
    return max(w._accumulative_counts for w in wrappers_of(optim_wrapper).values())


def begun_steps(optim_wrapper: Any, model: nn.Module) -> dict[str, dict[str, Any]]:
    """What the optimisers have of a step that they have begun, by their names; empty if nothing.

    Every process must call it. Between steps each process keeps the gradients of its own batches;
    the step will average them, so their average serves all of them.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    begun = {}
    for key, wrapper in wrappers_of(optim_wrapper).items():
        if wrapper.should_update():
            continue
        parameters = list(_parameters(wrapper))
        # A parameter without a gradient in any process must stay so: its weight is not decayed.
        used = torch.tensor([float(p.grad is not None) for p in parameters])
        all_reduce(used, op='sum')
        gradients = {}
        for parameter, count in zip(parameters, used.tolist(), strict=True):
            if not count:
                continue
            gradient = parameter.grad
            gradient = torch.zeros_like(parameter) if gradient is None else gradient.clone()
            if own_part(gradient) is gradient:  # shards are averages already
                all_reduce(gradient, op='mean')
                gradient = gradient.cpu()
            gradients[names[id(parameter)]] = gradient
        begun[key] = dict(
            counts=wrapper._inner_count,
            accumulative_counts=wrapper._accumulative_counts,
            gradients=gradients,
            scale=_loss_scale(wrapper),
        )
    return begun


def continue_steps(optim_wrapper: Any, model: nn.Module, begun: Mapping[str, Any]) -> None:
    """Puts back what ``begun_steps`` returned, where as many batches make a step as then."""
    parameters = dict(model.named_parameters())
    for key, wrapper in wrappers_of(optim_wrapper).items():
        saved = begun.get(key)
        if saved is None:
            continue
        batches = f'{saved["counts"] % saved["accumulative_counts"]} of '
        batches += f'{saved["accumulative_counts"]} batches of an optimiser step'
        if saved['accumulative_counts'] != wrapper._accumulative_counts:
            print_log(
                f'the gradients of {batches} are left out: accumulative_counts is now '
                f'{wrapper._accumulative_counts}',
                logger='current',
                level=logging.WARNING,
            )
            continue
        wrapper._inner_count = saved['counts']
        factor = _loss_scale(wrapper) / saved['scale']
        for name, gradient in saved['gradients'].items():
            if name in parameters and parameters[name].requires_grad:
                gradient = shard_like(gradient.to(parameters[name].dtype), parameters[name])
                parameters[name].grad = factor * gradient.to(parameters[name].device)
        print_log(
            f"the gradients of {batches} are put back; MMEngine's warning that they are lost is "
            'not true of this run',
            logger='current',
            level=logging.WARNING,
        )


def _parameters(wrapper: OptimWrapper) -> Iterator[nn.Parameter]:
    for group in wrapper.optimizer.param_groups:
        yield from (parameter for parameter in group['params'] if parameter.requires_grad)


def _loss_scale(wrapper: OptimWrapper) -> float:
    scaler = getattr(wrapper, 'loss_scaler', None)
    return 1.0 if scaler is None or not scaler.is_enabled() else scaler.get_scale()
