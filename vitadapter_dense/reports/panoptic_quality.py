"""Panoptic quality (Kirillov et al., Panoptic Segmentation, https://arxiv.org/abs/1801.00868, 4).

Two segments of a class match where their IoU is above a half, which at most one pair of each can
have. PQ is the sum of their IoUs over the matches and half of what is unmatched; SQ is the mean IoU
of the matches, RQ what is left: PQ = SQ RQ. As COCO's evaluation counts (section 4 and its
"void labels" and "group labels"): void pixels are taken out of a union, and an unmatched segment of
which more than half lies on void, or on a crowd of its class, is no mistake. Crowds are not found
and not missed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

_NONE = -1


@dataclasses.dataclass(frozen=True)
class TrueSegment:
    """A segment of the ground truth: the number of its class, and whether it is a crowd."""

    label: int
    crowd: bool = False


@dataclasses.dataclass(frozen=True)
class Quality:
    """Of a class, or the mean over the `classes` that occur; from 0 to 1."""

    pq: float
    sq: float
    rq: float
    classes: int


def count_image(
    truth: np.ndarray,
    true_segments: Mapping[int, TrueSegment],
    found: np.ndarray,
    found_segments: Mapping[int, int],
    *,
    num_classes: int,
) -> np.ndarray:
    """Match the segments of an image.

    Args:
        truth: (H, W) ids of the true segments; an id that is not among them is void.
        true_segments: by their ids.
        found: (H, W) ids of the predicted ones; an id that is not among them is no prediction.
        found_segments: their classes, by their ids.
        num_classes: how many classes there are.

    Returns:
        (num_classes, 4) float64: sum of the matches' IoUs, matches, predicted segments that match
        nothing, true ones that nothing matches. Counts of images are added.
    """
    true_ids, true_index = np.unique(truth, return_inverse=True)
    found_ids, found_index = np.unique(found, return_inverse=True)
    pairs = true_index.ravel() * len(found_ids) + found_index.ravel()
    overlap = np.bincount(pairs, minlength=len(true_ids) * len(found_ids))
    overlap = overlap.reshape(len(true_ids), len(found_ids))

    nothing = TrueSegment(_NONE)
    segments = [true_segments.get(identity, nothing) for identity in true_ids.tolist()]
    true_labels = np.array([segment.label for segment in segments])
    crowd = np.array([segment.crowd for segment in segments])
    found_labels = np.array(
        [found_segments.get(identity, _NONE) for identity in found_ids.tolist()]
    )

    on_void = overlap[true_labels == _NONE].sum(axis=0)
    areas = overlap.sum(axis=0)
    union = overlap.sum(axis=1)[:, None] + areas[None] - overlap - on_void[None]
    same = (true_labels[:, None] == found_labels[None]) & (found_labels != _NONE)[None]
    comparable = same & ~crowd[:, None]
    iou = np.where(comparable, overlap / np.maximum(union, 1), 0.0)
    rows, columns = np.nonzero(iou > 0.5)

    missed = (true_labels != _NONE) & ~crowd
    missed[rows] = False
    on_crowd = np.where(same & crowd[:, None], overlap, 0).sum(axis=0)
    wrong = (found_labels != _NONE) & (2 * (on_void + on_crowd) <= areas)
    wrong[columns] = False

    counts = np.zeros((num_classes, 4))
    np.add.at(counts[:, 0], true_labels[rows], iou[rows, columns])
    np.add.at(counts[:, 1], true_labels[rows], 1)
    np.add.at(counts[:, 2], found_labels[wrong], 1)
    np.add.at(counts[:, 3], true_labels[missed], 1)
    return counts


def class_qualities(counts: np.ndarray) -> list[Quality | None]:
    """The quality of each class; None for one that neither occurs nor was found."""
    return [_quality(*row) if any(row[1:]) else None for row in counts.tolist()]


def _quality(iou: float, matches: float, wrong: float, missed: float) -> Quality:
    total = matches + wrong / 2 + missed / 2
    return Quality(iou / total, iou / matches if matches else 0.0, matches / total, 1)


def mean_quality(qualities: Sequence[Quality | None]) -> Quality | None:
    """The mean over the classes that have one; None if none has."""
    there = [quality for quality in qualities if quality is not None]
    if not there:
        return None
    values = np.array([(quality.pq, quality.sq, quality.rq) for quality in there])
    return Quality(*values.mean(axis=0).tolist(), len(there))
