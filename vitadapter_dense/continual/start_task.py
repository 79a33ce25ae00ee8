"""Telling the parts of a model that a task begins."""

from __future__ import annotations

from torch import nn

from vitadapter_dense.continual.errors import ScheduleError


def start_task(model: nn.Module, index: int, *, keep: bool = False) -> None:
    """Calls ``start_task(index)`` of every module that has it.

    Args:
        model: without its wrappers.
        index: of the task, from 0.
        keep: the task has begun long ago: what its start does to parameters and buffers is undone,
            and what it does to anything else stays.
    """
    modules = [module for module in model.modules() if hasattr(module, 'start_task')]
    before = {}
    if keep and modules:
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for module in modules:
        module.start_task(index)
    if before:
        model.load_state_dict(before)


def check_tasks(model: nn.Module, count: int) -> None:
    """Calls ``check_tasks(count)`` of every module that has it: it raises if it is not for so many.

    Args:
        model: without its wrappers.
        count: of all tasks of the sequence.

    Raises:
        ScheduleError: it is not.
    """
    for module in model.modules():
        if hasattr(module, 'check_tasks'):
            try:
                module.check_tasks(count)
            except ValueError as error:
                raise ScheduleError(str(error)) from error
