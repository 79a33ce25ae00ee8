"""Looks at a sequence before anything is trained: every class needs samples in its task."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS

from vitadapter_dense.continual.class_presence import Kind, class_presence, kind_of
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.continual.schedule import ClassSchedule
from vitadapter_dense.continual.settings import ContinualSettings


def build_set(cfg: Mapping[str, Any], loader: str) -> Any:
    """The data set of a config's loader, as its toolbox builds it.

    Raises:
        ScheduleError: there is no such loader.
    """
    if not cfg.get(f'{loader}_dataloader'):
        raise ScheduleError(
            f'the config has no {loader}_dataloader, which a sequence of tasks needs. Mend: '
            f'{loader}_dataloader=dict(dataset=...)'
        )
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        return registry.build(cfg[f'{loader}_dataloader']['dataset'])


def check_tasks(
    dataset: Any, settings: ContinualSettings, schedule: ClassSchedule, *, cache: str | Path
) -> tuple[Kind, list[int]]:
    """What kind of data set it is, and how many samples each task has.

    Args:
        dataset: to train on, whole.
        settings: of the sequence.
        schedule: by which is trained.
        cache: as `class_presence` takes it.

    Raises:
        ScheduleError: a class without a sample in its task, settings that need another kind.
    """
    kind = kind_of(dataset)
    if settings.background is not None and kind != 'segmentation':
        raise ScheduleError(
            f'continual.background={settings.background!r}: what has no label is the background of '
            f'pixels, and {type(dataset).__name__} is for {kind}. Mend: leave it out'
        )
    if settings.pseudo_labels is not None and kind not in ('segmentation', 'detection'):
        instead = ': distill=dict(weight=1.0, temperature=2.0), or' if kind != 'panoptic' else ''
        raise ScheduleError(
            f'continual.pseudo_labels are for pixels or objects, and {type(dataset).__name__} is '
            f'for {kind}. Mend{instead or ":"} leave it out'
        )
    if settings.distill is not None and kind in ('detection', 'panoptic'):
        mend = 'pseudo_labels=dict(threshold=0.65), or ' if kind == 'detection' else ''
        raise ScheduleError(
            'continual.distill compares logits of classifiers and segmentors; what finds objects '
            f'has none of the kind. Mend: {mend}leave it out'
        )
    presence = class_presence(dataset, cache=cache)
    sizes = []
    for task in range(len(schedule)):
        chosen = settings.training_labels(schedule, task).chosen(presence)
        counts = presence[chosen].sum(axis=0)
        empty = [label for label in schedule.new(task) if not counts[label]]
        if empty:
            raise ScheduleError(_empty(schedule, task, empty, presence, settings))
        sizes.append(len(chosen))
    return kind, sizes


def check_scored(dataset: Any, schedule: ClassSchedule, *, cache: str | Path) -> None:
    """Raises unless every task can be scored.

    Args:
        dataset: to test on, whole.
        schedule: by whose groups is scored.
        cache: as `class_presence` takes it.

    Raises:
        ScheduleError: a task without a sample.
    """
    there = class_presence(dataset, cache=cache).any(axis=0)
    for task in range(len(schedule)):
        new = schedule.new(task)
        if not there[list(new)].any():
            raise ScheduleError(
                f'no sample of the test set is of {", ".join(schedule.names(new[:8]))}, of task '
                f'{task}: it could not be scored. Mend: other groups, or a test set that has them'
            )


def check_models(first: Config, later: Config, *, whole: bool) -> None:
    """Raises unless the model of later tasks takes the weights of the first one's.

    Args:
        first: configuration of the first task.
        later: of the last one.
        whole: it must have the very same weights, for the last model is copied from it.

    Raises:
        ScheduleError: it does not.
        ValueError: it cannot be built.
    """
    if later.model == first.model:
        return
    with MODELS.switch_scope_and_registry(first.get('default_scope')) as registry:
        one, two = (
            {
                name: tuple(tensor.shape)
                for name, tensor in registry.build(copy.deepcopy(cfg.model)).state_dict().items()
            }
            for cfg in (first, later)
        )
    names = one.keys() | two.keys() if whole else one.keys() & two.keys()
    other = sorted(name for name in names if one.get(name) != two.get(name))
    if other:
        shapes = [shapes.get(other[0], 'not there') for shapes in (one, two)]
        raise ScheduleError(
            f"continual.later changes {len(other)} of the model's weights, {other[0]} the first: "
            f'{shapes[0]} in the first task, {shapes[1]} in later ones. Mend: the same in all tasks'
        )


def _empty(
    schedule: ClassSchedule,
    task: int,
    empty: list[int],
    presence: np.ndarray,
    settings: ContinualSettings,
) -> str:
    names = ', '.join(schedule.names(empty[:8]))
    if presence[:, empty[0]].any():
        return (
            f'task {task} has no sample of {names}: protocol={settings.protocol!r} leaves out what '
            "has classes of later tasks. Mend: protocol='overlap', or an earlier place for them"
        )
    return (
        f'no sample of the training set is of {names}, of task {task}. Mend: take them out of the '
        'data set (metainfo.classes) and the groups, or add data'
    )
