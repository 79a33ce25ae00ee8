"""Which prediction of an image stands for which of its objects, by their boxes.

1. Predictions below the score threshold are left out; the others have their turn by score, the
   surest first.
2. Each takes, of the objects of its own class that are still free, the one that it overlaps most
   (intersection over union), if that reaches the threshold: as COCO's evaluation at that threshold
   does.
3. One that is left lies in a crowd of its own class, if that share of its area does: such a
   prediction is neither right nor wrong, and is left out.
4. The others take, in the same order, the free object of any class that they overlap most: they
   found the object and mistook its class.
5. What is left is a false prediction or a missed object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Objects:
    """The annotated objects of an image.

    Attributes:
        boxes: (n, 4), x1, y1, x2, y2 in pixels of the image.
        labels: (n,) int64.
        crowd: (n,) bool, regions with several objects, none of which has to be found.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


def objects_of(dataset: Any) -> dict[str, Objects]:
    """The objects of every image by the image's path; none where a data set does not tell.

    They are read from the data set, in pixels of the image: what a pipeline hands on may be scaled.
    """
    found = {}
    for index in range(len(dataset)):
        try:
            info = dataset.get_data_info(index)
            found[info['img_path']] = _objects(info['instances'])
        except (AttributeError, KeyError, TypeError):
            return {}
    return found


def _objects(instances: list[dict[str, Any]]) -> Objects:
    boxes = np.array([entry['bbox'] for entry in instances], np.float64).reshape(-1, 4)
    labels = np.array([entry['bbox_label'] for entry in instances], np.int64)
    crowd = np.array([entry.get('ignore_flag', 0) for entry in instances], bool)
    return Objects(boxes, labels, crowd)


def match_instances(
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    objects: Objects,
    *,
    score_thr: float,
    iou_thr: float,
) -> list[tuple[int | None, int | None]]:
    """Pairs objects with predictions.

    Args:
        boxes: (m, 4), x1, y1, x2, y2 of the predictions.
        labels: (m,) their classes.
        scores: (m,) their scores.
        objects: what is in the image.
        score_thr: the lowest score that counts.
        iou_thr: the least overlap of a pair, above 0.

    Returns:
        `(object, prediction)` for each pair, by their numbers; `(None, prediction)` for each that
        is false, `(object, None)` for each that is missed.
    """
    order = [int(n) for n in np.argsort(-scores, kind='stable') if scores[n] >= score_thr]
    shared = _intersections(boxes, objects.boxes)
    areas, true_areas = _areas(boxes)[:, None], _areas(objects.boxes)[None]
    with np.errstate(divide='ignore', invalid='ignore'):
        ious = np.nan_to_num(shared / (areas + true_areas - shared))
        inside = np.nan_to_num(shared / areas)
    same = labels[:, None] == objects.labels[None]
    free = ~objects.crowd
    pairs: list[tuple[int | None, int | None]] = []

    def take(numbers: list[int], allowed: np.ndarray) -> list[int]:
        left = []
        for number in numbers:
            candidates = np.where(free & allowed[number], ious[number], 0)
            best = int(candidates.argmax()) if len(candidates) else 0
            if len(candidates) and candidates[best] >= iou_thr:
                free[best] = False
                pairs.append((best, number))
            else:
                left.append(number)
        return left

    left = take(order, same)
    in_crowd = ((inside >= iou_thr) & same & objects.crowd).any(axis=1)
    left = take([number for number in left if not in_crowd[number]], np.ones_like(same))
    pairs += [(None, number) for number in left]
    pairs += [(int(number), None) for number in np.flatnonzero(free)]
    return pairs


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)


def _intersections(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(m, n) shared areas of boxes."""
    low = np.maximum(ones[:, None, :2], others[None, :, :2])
    high = np.minimum(ones[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(axis=2)
