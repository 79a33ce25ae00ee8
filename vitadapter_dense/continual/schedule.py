"""``ClassSchedule``: which classes come with which task.

Counts as in the literature of continual segmentation ("100-10": 100 classes, then 10 at a time;
MiB, Cermelli et al., CVPR 2020), lists of names, and an order drawn with a seed, as is usual for
Split-CIFAR-100.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitadapter_dense.continual.errors import ScheduleError


@dataclass(frozen=True)
class ClassSchedule:
    """Groups of classes, one a task.

    Attributes:
        classes: names of all classes, in the order of their labels.
        groups: the labels that are new in each task.
        background: label of a class that is there in every task, or None.
    """

    classes: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    background: int | None = None

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def always(self) -> tuple[int, ...]:
        """The background's label, if there is one."""
        return () if self.background is None else (self.background,)

    def new(self, task: int) -> tuple[int, ...]:
        """Labels that come with a task."""
        return self.groups[task]

    def old(self, task: int) -> tuple[int, ...]:
        """Labels that came before a task."""
        return tuple(label for group in self.groups[:task] for label in group)

    def seen(self, task: int) -> tuple[int, ...]:
        """Labels that are known after a task, the background's among them."""
        return (*self.always, *self.old(task), *self.new(task))

    def future(self, task: int) -> tuple[int, ...]:
        """Labels that come after a task."""
        return tuple(label for group in self.groups[task + 1 :] for label in group)

    def names(self, labels: Sequence[int]) -> list[str]:
        """The classes' names."""
        return [self.classes[label] for label in labels]

    @property
    def named_groups(self) -> list[list[str]]:
        """The groups by names, as files keep them."""
        return [self.names(group) for group in self.groups]

    def joint(self) -> ClassSchedule:
        """All classes in one task."""
        return ClassSchedule(self.classes, (self.old(len(self)),), self.background)


def make_schedule(
    groups: str | Sequence[Sequence[str | int]],
    classes: Sequence[str],
    *,
    order: int | None = None,
    background: str | None = None,
) -> ClassSchedule:
    """Divides classes among tasks.

    Args:
        groups: counts, ``'100-10'``; or the groups, of names or labels.
        classes: names of all classes, in the order of their labels.
        order: seed that the order is drawn with before counting; None keeps that of the labels.
        background: a class that belongs to no task.

    Raises:
        ScheduleError: counts that do not come out even, a class that is unknown, stands twice or
            nowhere.
    """
    lists = (list, tuple)
    listed = isinstance(groups, lists) and all(isinstance(group, lists) for group in groups)
    if not listed and not isinstance(groups, str):
        raise ScheduleError(
            f"groups={groups!r}: counts are meant, '10-5', or a list of lists of names or labels"
        )
    if order is not None and (type(order) is not int or order < 0):
        raise ScheduleError(f'order={order!r}: it is a seed, a whole number of 0 or more')
    classes = tuple(classes)
    label = None if background is None else _label(background, classes, 'background')
    labels = [number for number in range(len(classes)) if number != label]
    if isinstance(groups, str):
        if order is not None:
            labels = np.random.default_rng(order).permutation(labels).tolist()
        return ClassSchedule(classes, _counted(groups, labels), label)
    if order is not None:
        raise ScheduleError(
            f'order={order} draws an order for counts, but groups are listed. Mend: order=None, or '
            "groups='10-5'"
        )
    listed = tuple(tuple(_label(name, classes, 'groups') for name in group) for group in groups)
    _check_listed(listed, labels, classes)
    return ClassSchedule(classes, listed, label)


def _counted(groups: str, labels: list[int]) -> tuple[tuple[int, ...], ...]:
    found = re.fullmatch(r'([1-9]\d*)-([1-9]\d*)', groups)
    if not found:
        raise ScheduleError(
            f"groups={groups!r}: two counts are meant, '10-5' for 10 classes and then 5 at a time, "
            'or a list of lists of names'
        )
    first, step = map(int, found.groups())
    rest = len(labels) - first
    if rest < 0 or rest % step:
        left = f'{rest % step} of them are left over' if rest >= 0 else 'there are less'
        raise ScheduleError(
            f'groups={groups!r} does not divide {len(labels)} classes: {left}. Mend: counts that '
            f'come out even, or a list of groups'
        )
    ends = range(first, len(labels) + 1, step)
    starts = (0, *ends[:-1])
    return tuple(tuple(labels[start:end]) for start, end in zip(starts, ends, strict=True))


def _label(name: str | int, classes: Sequence[str], where: str) -> int:
    if isinstance(name, int) and 0 <= name < len(classes):
        return name
    if name not in classes:
        raise ScheduleError(
            f'{where} names {name!r}, which is no class. Mend: one of {", ".join(classes[:8])}'
            + (', ...' if len(classes) > 8 else '')
        )
    return classes.index(name)


def _check_listed(
    groups: tuple[tuple[int, ...], ...], labels: list[int], classes: Sequence[str]
) -> None:
    given = [label for group in groups for label in group]
    empty = [number for number, group in enumerate(groups) if not group]
    twice = [classes[label] for label in dict.fromkeys(given) if given.count(label) > 1]
    absent = [classes[label] for label in labels if label not in given]
    beyond = [classes[label] for label in given if label not in labels]
    if empty:
        raise ScheduleError(f'group {empty[0]} has no class. Mend: leave it out')
    if twice:
        raise ScheduleError(
            f'groups overlap: {", ".join(twice)} stands in more than one place. Mend: once each'
        )
    if beyond:
        raise ScheduleError(f'{beyond[0]} is the background, and in no group. Mend: leave it out')
    if absent:
        raise ScheduleError(
            f'groups leave {len(absent)} classes out: {", ".join(absent[:8])}. Mend: put each into '
            'a group, or take it out of the data set (metainfo.classes)'
        )
