"""Scores by class after a task, and what they are for tasks and groups of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitadapter_dense.continual.class_presence import Kind
from vitadapter_dense.continual.schedule import ClassSchedule

NAMES: Mapping[Kind, str] = dict(
    classification='accuracy', segmentation='mIoU', detection='mAP', panoptic='PQ'
)
# what scores classes of objects and of segments, by files of their own
_METRICS: Mapping[Kind, str] = dict(detection='CocoMetric', panoptic='PanopticQuality')


def evaluator_of(kind: Kind, given: Any, *, later: Sequence[str]) -> Any:
    """The config of the metric that gives a score a class.

    Args:
        kind: of the data set.
        given: the config's own evaluator, of which objects and segments take theirs.
        later: names of the classes that have not come; where segments are scored, pixels of these
            are of no class. COCO's metric goes class by class.
    """
    if kind == 'classification':
        return dict(type='LabelConfusionMatrix')
    if kind == 'segmentation':
        return dict(type='PixelConfusionMatrix')
    listed = given if isinstance(given, (list, tuple)) else [given]
    name = _METRICS[kind]
    own = [dict(one) for one in listed if one and str(one.get('type')).endswith(name)]
    if not own:
        raise ValueError(
            f'{kind} is scored class by class with {name}, which the test_evaluator lacks. Mend: '
            f"test_evaluator=dict(type='{name}', ...)"
        )
    if kind == 'panoptic':
        return dict(own[0], void_classes=list(later))
    return dict(own[0], metric='bbox', classwise=True)


def scores_by_class(
    kind: Kind, metric: Any, found: Mapping[str, float], classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(C,) scores in percent, NaN where there is none, and (C,) how much each class weighs.

    Args:
        kind: of the data set.
        metric: of `evaluator_of`, after an evaluation.
        found: what the evaluation returned.
        classes: names of all classes.
    """
    if kind == 'detection':
        scores = [100 * float(found.get(f'coco/{name}_precision', np.nan)) for name in classes]
        return np.array(scores), np.ones(len(classes))
    if kind == 'panoptic':
        found = [metric.qualities[name] for name in classes]
        scores = [np.nan if quality is None else 100 * quality.pq for quality in found]
        return np.array(scores), np.ones(len(classes))
    matrix = metric.matrix.astype(np.float64)
    right, true, taken = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    images = kind == 'classification'
    with np.errstate(divide='ignore', invalid='ignore'):
        scores = 100 * right / (true if images else true + taken - right)
    # a class without pixels that nobody asked for has no IoU
    scores[true == 0] = np.nan
    return scores, true if images else np.ones(len(classes))


def mean_of(scores: np.ndarray, weights: np.ndarray, labels: Sequence[int]) -> float:
    """The mean over classes that have a score: accuracy over their images, else over classes."""
    chosen = np.array([label for label in labels if np.isfinite(scores[label])], np.int64)
    if not chosen.size:
        return float('nan')
    return float(np.average(scores[chosen], weights=weights[chosen]))


def task_row(
    schedule: ClassSchedule, task: int, scores: np.ndarray, weights: np.ndarray
) -> list[float]:
    """The row R[task, i] for every i up to the task."""
    return [mean_of(scores, weights, schedule.new(i)) for i in range(task + 1)]


def group_means(
    schedule: ClassSchedule, task: int, scores: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
    """Means over the classes of the first task, of all tasks before, of the last one, and of all.

    The background belongs to the first task and to all, as published tables count it.
    """
    labels = dict(
        base=(*schedule.always, *schedule.new(0)),
        old=schedule.old(task) if task == 0 else (*schedule.always, *schedule.old(task)),
        new=schedule.new(task),
        all=schedule.seen(task),
    )
    return {name: mean_of(scores, weights, chosen) for name, chosen in labels.items()}
