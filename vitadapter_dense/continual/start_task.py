"""Telling the parts of a model that a task begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from vitadapter_dense.continual.errors import ScheduleError


def set_groups(model: nn.Module, groups: Sequence[Sequence[int]]) -> None:
    """Calls ``set_groups(groups)`` of every module that has it: it has parts of its own for tasks.

    Args:
        model: without its wrappers.
        groups: the labels of each task.

    Raises:
        ScheduleError: the module was built for others.
    """
    _tell_all(model, 'set_groups', groups)


def stepwise_modules(model: nn.Module) -> list[nn.Module]:
    """Modules that have parts of their own for each later task (``task_modules(index)``)."""
    return [module for module in model.modules() if hasattr(module, 'task_modules')]


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
    _tell_all(model, 'check_tasks', count)


def _tell_all(model: nn.Module, method: str, what: Any) -> None:
    for module in model.modules():
        if hasattr(module, method):
            try:
                getattr(module, method)(what)
            except ValueError as error:
                raise ScheduleError(str(error)) from error
