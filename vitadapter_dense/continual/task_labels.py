"""``TaskLabels``: the first step of a task's pipeline, which shows it the labels that it may see.

It stands where labels are read, before any augmentation, so that no crop is chosen by a class of a
later task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitadapter_dense.datasets.load_seg_map import IGNORED


class TaskLabels:
    """Takes out all labels but those of a task, and refuses samples that are not of the task.

    A data set that draws another sample in place of one that its pipeline dropped asks again then,
    so that a task stays among its own whatever the wrappers and mixtures around it.

    - of an image's label: nothing is changed;
    - of objects: the others are taken out, and what they cover is background;
    - of segments, things and stuff: the others are taken out, and what they cover is of no class;
    - of pixels: the others become the background's label, or 255, which is ignored.

    Args:
        labelled: labels that stay.
        having: a sample must have one of them; None for any sample.
        without: a sample must have none of them.
        background: label that other pixels get; None ignores them.
    """

    def __init__(
        self,
        labelled: Sequence[int],
        *,
        having: Sequence[int] | None = None,
        without: Sequence[int] = (),
        background: int | None = None,
    ) -> None:
        self.labelled = frozenset(labelled)
        self.having = None if having is None else frozenset(having)
        self.without = frozenset(without)
        self.background = background
        kept = np.isin(np.arange(256), [*labelled, IGNORED])
        other = IGNORED if background is None else background
        self._table = np.where(kept, np.arange(256), other).astype(np.uint8)

    def chosen(self, presence: np.ndarray) -> np.ndarray:
        """(n,) int64, the samples of the task.

        Args:
            presence: (N, C) bool, which classes each sample has.
        """
        fits = ~presence[:, sorted(self.without)].any(axis=1)
        if self.having is not None:
            fits &= presence[:, sorted(self.having)].any(axis=1)
        return np.flatnonzero(fits)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Changes the labels of a sample; None where it is of another task."""
        if 'gt_seg_map' in results:
            labels = results['gt_seg_map']
            present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
            results['gt_seg_map'] = self._table[labels]
        elif 'gt_label' in results:
            present = [int(results['gt_label'])]
        elif 'segments_info' in results:
            present = [one['category'] for one in results['segments_info']]
            for key, label in (('segments_info', 'category'), ('instances', 'bbox_label')):
                results[key] = [one for one in results[key] if one[label] in self.labelled]
        else:
            objects = results['instances']
            present = [one['bbox_label'] for one in objects if not one.get('ignore_flag')]
            results['instances'] = [one for one in objects if one['bbox_label'] in self.labelled]
        return results if self._fits(present) else None

    def _fits(self, present: Sequence[int]) -> bool:
        return self.without.isdisjoint(present) and (
            self.having is None or not self.having.isdisjoint(present)
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(labelled={sorted(self.labelled)})'
