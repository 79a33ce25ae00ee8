"""What runs once for several tasks: a step that is given what it was given before gives the same.

A step is a method of a module, mostly ``forward``. It is given the same where that is the same
memory, unchanged since; no values are compared. So nothing has to be known of what stands between
two steps: where a task has changed something, the next step is given something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

_results: ContextVar[Results | None] = ContextVar('results', default=None)


@contextmanager
def running_once(held: Mapping[Any, Any]) -> Iterator[Results]:
    """Steps in ``held`` run once in here, in this thread; everywhere else as ever."""
    results = Results(held)
    token = _results.set(results)
    try:
        yield results
    finally:
        _results.reset(token)


class Results:
    """What steps gave within one ``running_once``.

    Args:
        held: for each step that tasks hold in common the one whose results it takes.
    """

    def __init__(self, held: Mapping[Any, Any]) -> None:
        self.held = held
        self._known: dict[Any, Any] = {}

    def once(self, step: Any, given: Any, compute: Callable[[], Any]) -> Any:
        """What ``step`` has given for ``given``; computed if it has not, or if that was changed."""
        precision = [
            torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
            for device in ('cpu', 'cuda')
        ]
        key = (step, _told(given), *precision)
        _, output, as_it_was = self._known.get(key, (None, None, None))
        if as_it_was is None or as_it_was != _told(output):
            output = compute()
            # what was given stays in memory, so that nothing else gets its place
            self._known[key] = given, output, _told(output)
        return output


class RunsOnce:
    """Stands for a method of a module, as an attribute of it; hooks act around it as before."""

    def __init__(self, *step: Any) -> None:
        self.step = step

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, name = self.step
        method, results = getattr(type(module), name), _results.get()
        if results is None or self.step not in results.held:
            return method(module, *args, **kwargs)

        def compute() -> Any:
            in_place = getattr(module, 'inplace', False)  # other tasks go on from its input, too
            given = [arg.clone() for arg in args] if in_place else args
            return method(module, *given, **kwargs)

        return results.once(results.held[self.step], (args, kwargs), compute)


def _told(value: Any) -> Any:
    """Which objects a value is made of; a tensor is told by its place and its changes."""
    if isinstance(value, Tensor):
        changes = 0 if value.is_inference() else value._version
        return value.device, value.data_ptr(), value.shape, value.stride(), value.dtype, changes
    if isinstance(value, (tuple, list)):
        return tuple(map(_told, value))
    if isinstance(value, dict):
        return tuple((key, _told(entry)) for key, entry in value.items())
    if is_dataclass(value):
        return _told(vars(value))
    return value if isinstance(value, (str, int, float)) else id(value)
