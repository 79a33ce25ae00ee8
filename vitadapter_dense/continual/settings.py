"""``ContinualSettings``: what a config says in ``continual = dict(...)``."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_type_hints

from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.schedule import ClassSchedule, make_schedule
from vitadapter_dense.continual.task_labels import TaskLabels


@dataclasses.dataclass(frozen=True)
class ContinualSettings:
    """A sequence of tasks.

    Attributes:
        groups: as `make_schedule` takes them.
        order: as `make_schedule` takes it.
        background: name of a class that belongs to no task.
        protocol: of the images to train on: ``'overlap'``, all with a class of the task, which
            alone is labelled; ``'disjoint'``, without those that have classes of later tasks;
            ``'sequential'``, the same with earlier classes labelled too.
        logits: rows that the training loss sees: of the ``'task'``, of all classes ``'seen'``, or
            ``'all'``. The background's row is always among them.
        rows: rows of the classifiers that train: ``'all'``, of the ``'task'``, or of the
            ``'task and background'``. In the first task the background's always does.
        freeze_rest: from the second task on nothing but the classifiers' rows trains.
        distill: ``dict(weight=1.0, temperature=2.0)`` for LwF on the outputs.
        pseudo_labels: ``dict(threshold=0.7)`` for labels of the last model in the background, of
            pixels or of objects.
        joint: all classes in one task, scored by the groups: the upper bound.
        later: changes of the config from the second task on, dotted or nested.
    """

    groups: str | Sequence[Sequence[str | int]]
    order: int | None = None
    background: str | None = None
    protocol: Literal['overlap', 'disjoint', 'sequential'] = 'overlap'
    logits: Literal['task', 'seen', 'all'] = 'seen'
    rows: Literal['all', 'task', 'task and background'] = 'all'
    freeze_rest: bool = False
    distill: Mapping[str, float] | None = None
    pseudo_labels: Mapping[str, float] | None = None
    joint: bool = False
    later: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def looks_back(self) -> bool:
        """Whether the last task's model is needed."""
        return self.distill is not None or self.pseudo_labels is not None

    def schedule(self, classes: Sequence[str]) -> ClassSchedule:
        """The groups of these classes.

        Raises:
            ScheduleError: as `make_schedule`.
        """
        return make_schedule(self.groups, classes, order=self.order, background=self.background)

    def training_labels(self, schedule: ClassSchedule, task: int) -> TaskLabels:
        """The images of a task and what is labelled in them."""
        shown = schedule.seen(task) if self.protocol == 'sequential' else schedule.new(task)
        return TaskLabels(
            sorted({*shown, *schedule.always}),
            having=schedule.new(task),
            without=() if self.protocol == 'overlap' else schedule.future(task),
            background=schedule.background,
        )

    def trained_logits(self, schedule: ClassSchedule, task: int) -> tuple[int, ...]:
        """Labels whose rows the training loss sees."""
        if self.logits == 'all':
            return tuple(range(len(schedule.classes)))
        if self.logits == 'seen':
            return schedule.seen(task)
        return (*schedule.always, *schedule.new(task))

    def trained_rows(self, schedule: ClassSchedule, task: int) -> tuple[int, ...]:
        """Labels whose rows may change."""
        if self.rows == 'all':
            return tuple(range(len(schedule.classes)))
        background = schedule.always if self.rows != 'task' or task == 0 else ()
        return (*background, *schedule.new(task))


def read_settings(cfg: Mapping[str, Any]) -> ContinualSettings:
    """Reads ``continual`` of a config.

    Raises:
        ScheduleError: there is none, an unknown name or value, or settings that exclude each other.
    """
    given = cfg.get('continual')
    if given is None:
        raise ScheduleError(
            "the config has no continual=dict(groups='10-5', ...): it describes one training, for "
            'which there is tools/train.py'
        )
    known = [field.name for field in dataclasses.fields(ContinualSettings)]
    if not isinstance(given, Mapping):
        raise ScheduleError(
            f'continual={given!r}: it is dict({"=, ".join(known)}=), or some of these'
        )
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ScheduleError(
                f'continual.{name} is unknown'
                + (f'; did you mean {near[0]}?' if near else f'; there are {", ".join(known)}')
            )
    if 'groups' not in given:
        raise ScheduleError("continual has no groups. Mend: groups='10-5', or lists of names")
    settings = ContinualSettings(**{name: _plain(value) for name, value in given.items()})
    hints = get_type_hints(ContinualSettings)
    for name in ('protocol', 'logits', 'rows'):
        choices, value = get_args(hints[name]), getattr(settings, name)
        if value not in choices:
            raise ScheduleError(f'continual.{name}={value!r}: choose of {", ".join(choices)}')
    for name in ('freeze_rest', 'joint'):
        if not isinstance(getattr(settings, name), bool):
            raise ScheduleError(
                f'continual.{name}={getattr(settings, name)!r}: it is True or False'
            )
    if not isinstance(settings.later, Mapping):
        raise ScheduleError(
            f'continual.later={settings.later!r}: it is dict(train_cfg=dict(...), ...) of what '
            'changes from the second task on'
        )
    _check_looking_back(settings)
    return settings


_MEANT = dict(
    weight=('of 0 or more', lambda value: 0 <= value < math.inf),
    temperature=('above 0', lambda value: 0 < value < math.inf),
    threshold=('from 0 to below 1', lambda value: 0 <= value < 1),
)


def _check_looking_back(settings: ContinualSettings) -> None:
    wanted = dict(distill={'weight', 'temperature'}, pseudo_labels={'threshold'})
    for name, keys in wanted.items():
        given = getattr(settings, name)
        if given is not None and (not isinstance(given, Mapping) or given.keys() != keys):
            raise ScheduleError(
                f'continual.{name}={given!r}: it is dict({"=, ".join(sorted(keys))}=)'
            )
        for key, value in (given or {}).items():
            meant, fits = _MEANT[key]
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and fits(value)):
                raise ScheduleError(f'continual.{name}.{key}={value!r}: it is a number {meant}')
    labels_old = settings.protocol == 'sequential' or settings.pseudo_labels is not None
    if settings.logits == 'task' and labels_old:
        what = 'pseudo_labels' if settings.pseudo_labels else "protocol='sequential'"
        raise ScheduleError(
            f"{what} labels earlier classes, whose rows logits='task' hides from the loss. Mend: "
            "logits='seen'"
        )
    if settings.joint and settings.looks_back:
        raise ScheduleError('joint=True has no earlier task: distill and pseudo_labels do nothing')


def _plain(value: Any) -> Any:
    """Without MMEngine's own kinds of containers."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
