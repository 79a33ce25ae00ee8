"""Where the time of loading a sample goes, transform by transform."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableSequence
from typing import Any, NamedTuple


class Spent(NamedTuple):
    """Seconds of the processor, and those that passed, waiting included."""

    processor: float = 0.0
    passed: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.processor + other.processor, self.passed + other.passed)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.processor - other.processor, self.passed - other.passed)


def now() -> Spent:
    """The clocks of this thread."""
    return Spent(time.thread_time(), time.perf_counter())


class TransformTimes:
    """Times the transforms of a data set, also those inside wrappers and choices.

    What a transform spends in others that it calls is theirs.

    Args:
        dataset: its pipelines are changed for good; loaded in this process.

    Attributes:
        spent: by name of the transform.
    """

    def __init__(self, dataset: Any) -> None:
        self.spent: dict[str, Spent] = {}
        self._inside = [Spent()]
        for pipeline in _pipelines(dataset):
            self._watch(pipeline)

    def _watch(self, transforms: MutableSequence) -> None:
        for index, transform in enumerate(transforms):
            inner = getattr(transform, 'transforms', None)
            if isinstance(transform, list):
                self._watch(transform)
                continue
            if isinstance(inner, MutableSequence):  # a choice, a broadcast, another Compose
                self._watch(inner)
            transforms[index] = self._timed(transform)

    def _timed(self, transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
        name = type(transform).__name__

        def call(data: Any) -> Any:
            self._inside.append(Spent())
            start = now()
            try:
                return transform(data)
            finally:
                took = now() - start
                own = took - self._inside.pop()
                self.spent[name] = self.spent.get(name, Spent()) + own
                self._inside[-1] += took

        return call


def _pipelines(dataset: Any) -> Iterator[MutableSequence]:
    """The lists of transforms of a data set and of those that it wraps."""
    pipeline = getattr(dataset, 'pipeline', None)
    steps = getattr(pipeline, 'transforms', pipeline)
    inner = [*(getattr(dataset, 'datasets', None) or ()), getattr(dataset, 'dataset', None)]
    inner = [each for each in inner if each is not None]
    shared = any(getattr(each, 'pipeline', None) is pipeline for each in inner)
    if isinstance(steps, MutableSequence) and not shared:  # attributes may be the inner one's
        yield steps
    for each in inner:
        yield from _pipelines(each)


def format_times(spent: dict[str, Spent], images: int) -> str:
    """Milliseconds an image as an aligned table, and their sum.

    Args:
        spent: by name.
        images: that were loaded.
    """
    whole = sum(spent.values(), Spent())
    width = max(map(len, [*spent, 'ms an image']))
    lines = [f'{"ms an image":<{width}} {"processor":>10} {"share":>7} {"passed":>10}']
    for name, each in {**spent, 'sum': whole}.items():
        share = each.processor / whole.processor
        processor, passed = (1e3 * value / images for value in each)
        lines.append(f'{name:<{width}} {processor:>10.2f} {share:>7.1%} {passed:>10.2f}')
    return '\n'.join(lines)
