"""Accuracy of classifiers: over images and over classes, among all classes or some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from vitadapter_dense.reports.confusion_matrix import PixelConfusionMatrix, count_pairs
from vitadapter_dense.reports.frequency_groups import SHOTS, group_means


@METRICS.register_module()
class ClassAccuracy(BaseMetric):
    """`top1`, `top5` with more than five classes, and `balanced`, in percent.

    `balanced` is the mean over the classes of the share of their images that are right, which a
    long tail does not change. Told by `FrequencyGroupsHook` how many training images the classes
    have, it gives `many`, `medium` and `few` too: the same mean over the classes of each group.

    Args:
        among: classes that can be predicted: `'all'`; `'present'`, those that have images in the
            data set, as ImageNet-A and -R are evaluated with a model of 1000 classes; or their
            numbers.
        collect_device: as in MMEngine's `BaseMetric`.
        prefix: as in MMEngine's `BaseMetric`.

    Raises:
        ValueError: when evaluated, for an image of a class that is not among them.
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        among: Literal['all', 'present'] | Sequence[int] = 'all',
        *,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if isinstance(among, str) and among not in ('all', 'present'):
            raise ValueError(f"among={among!r}; it must be 'all', 'present', or numbers of classes")
        self.among = among
        self._counts: np.ndarray | None = None

    def set_counts(self, counts: Sequence[int]) -> None:
        """Training images of every class, by which `many`, `medium` and `few` are grouped."""
        self._counts = np.asarray(counts)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the label and the scores of each image."""
        for sample in data_samples:
            scores = sample['pred_score'].float().cpu().numpy()
            self.results.append((int(sample['gt_label'][0]), scores))

    def compute_metrics(self, results: list[tuple[int, np.ndarray]]) -> dict[str, float]:
        """What is right, in percent."""
        labels = np.array([label for label, _ in results])
        scores, counts = np.stack([own for _, own in results]), self._counts
        if not isinstance(self.among, str) or self.among == 'present':
            among = np.unique(labels if isinstance(self.among, str) else list(self.among))
            if not np.isin(labels, among).all():
                other = labels[~np.isin(labels, among)][0]
                raise ValueError(f'an image is of class {other}, which is not in among={among}')
            labels, scores = np.searchsorted(among, labels), scores[:, among]
            counts = None if counts is None else counts[among]
        # what is as sure as the true class is ahead of it: a model that says nothing is not right
        own = scores[np.arange(len(labels)), labels][:, None]
        ahead = (scores >= own).sum(axis=1) - 1
        right = ahead < 1
        found = dict(top1=right.mean())
        if scores.shape[1] > 5:
            found['top5'] = (ahead < 5).mean()
        present = np.unique(labels)
        shares = [right[labels == label].mean() for label in present]
        found['balanced'] = np.mean(shares)
        if counts is not None:
            found |= group_means(shares, counts[present], SHOTS)
        return {name: 100 * float(value) for name, value in found.items()}


def is_classified(dataset: Any) -> bool:
    """Whether a built data set, or the one that it wraps, has a label an image."""
    inner = getattr(dataset, 'dataset', None) or (getattr(dataset, 'datasets', None) or [None])[0]
    return hasattr(dataset, 'get_gt_labels') or (inner is not None and is_classified(inner))


@METRICS.register_module()
class LabelConfusionMatrix(PixelConfusionMatrix):
    """Counts images by true and predicted class."""

    unit = 'images'

    def count(self, sample: dict) -> np.ndarray:
        """The matrix of one image."""
        truth, found = (sample[name].cpu().numpy()[:1] for name in ('gt_label', 'pred_label'))
        return count_pairs(truth, found, len(self.dataset_meta['classes']), ignore_index=-1)

    def score(self, matrix: np.ndarray) -> float:
        """1 for an image that is right, else 0."""
        return float(np.trace(matrix))
