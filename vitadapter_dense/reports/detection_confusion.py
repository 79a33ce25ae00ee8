"""The confusion matrix of a detector: for every class, what its objects were taken for."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.registry import METRICS
from torch import Tensor

from vitadapter_dense.reports.confusion_matrix import PixelConfusionMatrix
from vitadapter_dense.reports.instance_matching import match_instances, objects_of


@METRICS.register_module()
class DetectionConfusionMatrix(PixelConfusionMatrix):
    """Counts objects by true and predicted class, over all images and processes.

    Which prediction stands for which object, `instance_matching.py` says. The counts stay in
    `matrix`, (K + 1, K + 1) int64: the last column has the objects that were missed, the last row
    the predictions that are false. `read_objects` comes before the first image.

    Args:
        score_thr: the lowest score that counts.
        iou_thr: the least overlap of a prediction's box with its object's.
        collect_device: as in MMEngine's `BaseMetric`.
        prefix: as in MMEngine's `BaseMetric`.
    """

    unit = 'objects'

    def __init__(
        self,
        score_thr: float = 0.3,
        iou_thr: float = 0.5,
        *,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not (0 <= score_thr <= 1 and 0 < iou_thr <= 1):
            raise ValueError(
                f'score_thr {score_thr} and iou_thr {iou_thr} must be from 0 to 1, iou_thr above 0'
            )
        self.score_thr, self.iou_thr = score_thr, iou_thr
        self._objects: dict[str, Any] = {}

    def read_objects(self, dataset: Any) -> bool:
        """Learn what is in the images of a built data set; whether it tells."""
        self._objects = objects_of(dataset)
        return bool(self._objects)

    def count(self, sample: dict) -> np.ndarray:
        """The matrix of one image.

        Raises:
            ValueError: nothing is known of the image.
        """
        number, found = len(self.dataset_meta['classes']), sample['pred_instances']
        if sample['img_path'] not in self._objects:
            raise ValueError(f'the data set names no objects (`instances`) of {sample["img_path"]}')
        objects = self._objects[sample['img_path']]
        boxes = _boxes(found).astype(np.float64)
        labels, scores = _array(found['labels']), _array(found['scores'])
        thresholds = dict(score_thr=self.score_thr, iou_thr=self.iou_thr)
        matrix = np.zeros((number + 1, number + 1), np.int64)
        for true, predicted in match_instances(boxes, labels, scores, objects, **thresholds):
            row = number if true is None else objects.labels[true]
            matrix[row, number if predicted is None else labels[predicted]] += 1
        return matrix

    def score(self, matrix: np.ndarray) -> float:
        """F1 of an image, 0 to 1; NaN where there is nothing and nothing was found."""
        true, found = matrix[:-1].sum(), matrix[:, :-1].sum()
        return 2 * np.trace(matrix) / (true + found) if true + found else float('nan')

    def summarize(self, matrix: np.ndarray) -> dict[str, float]:
        """`precision`, `recall` and `F1` over all objects, in percent."""
        right, true, found = np.trace(matrix), matrix[:-1].sum(), matrix[:, :-1].sum()
        with np.errstate(invalid='ignore'):
            values = dict(precision=right / found, recall=right / true)
        return {name: 100 * float(v) for name, v in (*values.items(), ('F1', self.score(matrix)))}


def _boxes(found: dict[str, Any]) -> np.ndarray:
    """(m, 4); those of the masks where a model gives masks alone, as SOLO does."""
    boxes = _array(getattr(found['bboxes'], 'tensor', found['bboxes']))
    if boxes.any() or not isinstance(found.get('masks'), Tensor):
        return boxes
    for box, mask in zip(boxes, _array(found['masks']), strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def _array(values: Tensor) -> np.ndarray:
    return (values.float() if values.is_floating_point() else values).cpu().numpy()
