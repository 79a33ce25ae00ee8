"""The confusion matrix of a segmentor: for every class, what its pixels were taken for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from vitadapter_dense.reports.own_share import own_share


@METRICS.register_module()
class PixelConfusionMatrix(BaseMetric):
    """Counts pixels by true and predicted class, over all images and processes.

    The metrics that follow from it (`mIoU`, `mAcc`, `aAcc`, in percent) are returned; the counts
    stay in `matrix`, (K, K) int64, rows true, columns predicted, in the first process.

    Args:
        ignore_index: label of pixels that do not count.
        collect_device: as in MMEngine's `BaseMetric`.
        prefix: as in MMEngine's `BaseMetric`.
    """

    unit = 'pixels'
    default_prefix = ''  # none, and nothing to warn of

    def __init__(
        self, ignore_index: int = 255, *, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ignore_index = ignore_index
        self.matrix: np.ndarray | None = None
        self._images = 0
        self._last: np.ndarray | None = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Add the pixels of a batch of predictions."""
        for sample in data_samples:
            self.add(sample)

    def add(self, sample: dict) -> np.ndarray:
        """Add one image; returns its own matrix."""
        counted = self.count(sample)
        # One running sum in place of a matrix for every image.
        self.results = [self.results[0] + counted] if self.results else [counted]
        self._images, self._last = self._images + 1, counted
        return counted

    def count(self, sample: dict) -> np.ndarray:
        """The matrix of one image."""
        number = len(self.dataset_meta['classes'])
        truth = sample['gt_sem_seg']['data'].cpu().numpy().ravel()
        found = sample['pred_sem_seg']['data'].cpu().numpy().ravel()
        return count_pairs(truth, found, number, ignore_index=self.ignore_index)

    def score(self, matrix: np.ndarray) -> float:
        """Mean IoU of an image, 0 to 1, over the classes that it has or was said to have.

        NaN where no pixel counts.
        """
        return self.summarize(matrix)['mIoU'] / 100 if matrix.any() else float('nan')

    def summarize(self, matrix: np.ndarray) -> dict[str, float]:
        """`aAcc`, `mIoU`, `mAcc` in percent; the means leave out classes that occur nowhere."""
        right, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        with np.errstate(divide='ignore', invalid='ignore'):
            iou, accuracy = right / (true + found - right), right / true
            overall = right.sum() / matrix.sum()
        means = dict(aAcc=overall, mIoU=np.nanmean(iou), mAcc=np.nanmean(accuracy))
        return {name: float(value) * 100 for name, value in means.items()}

    def evaluate(self, size: int) -> dict:
        """Leave out an image that another process has too, and sum over the processes."""
        if self._images > own_share(size):
            self.results = [self.results[0] - self._last]
        self._images = 0
        # The sums, of which there is one a process, are no images to choose `size` from.
        return super().evaluate(max(size, get_world_size()))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """What the matrix says in a few figures; keeps it."""
        self.matrix = np.sum(results, axis=0)
        return self.summarize(self.matrix)


def count_pairs(
    truth: np.ndarray, found: np.ndarray, number: int, *, ignore_index: int = 255
) -> np.ndarray:
    """Count pairs of labels.

    Args:
        truth: labels, flat.
        found: predicted labels, flat, all below `number`.
        number: of classes.
        ignore_index: true label of pixels that do not count.

    Returns:
        (number, number) int64, rows true, columns predicted.
    """
    valid = truth != ignore_index
    pairs = truth[valid].astype(np.int64) * number + found[valid].astype(np.int64)
    return np.bincount(pairs, minlength=number**2).reshape(number, number)
