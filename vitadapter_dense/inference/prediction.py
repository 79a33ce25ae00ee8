"""What a model says of one image: arrays to go on with, a picture to look at, JSON to send."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement, PixelData
from mmengine.visualization import Visualizer

from vitadapter_dense.reports.label_pictures import label_map
from vitadapter_dense.reports.panoptic_metric import INSTANCE_OFFSET
from vitadapter_dense.reports.panoptic_pictures import found_segments
from vitadapter_dense.reports.picture_style import ALPHA
from vitadapter_dense.reports.pictures import draw_sample, render_prediction
from vitadapter_dense.training.float32_predictions import to_float32

_LIKELIEST = 5  # classes of a classifier in JSON


@dataclass(frozen=True)
class Prediction:
    """The prediction on one image, in pixels of the image as it was given.

    Detectors give `boxes`, `scores`, `labels` and, if they segment, `masks`; segmentors give
    `label_map`; panoptic models `segments`, and their things as a detector does; classifiers all
    classes as `labels`, the likeliest first, with their `scores`. What a model does not give is
    None.

    Args:
        image: (H, W, 3) uint8, RGB.
        sample: the toolbox's data sample.
        names: of the classes.
        visualizer: draws, and knows the colours.
        path: where the image came from; None for one in memory.
    """

    image: np.ndarray
    sample: BaseDataElement
    names: tuple[str, ...]
    visualizer: Visualizer
    path: str | None = None

    @cached_property
    def boxes(self) -> np.ndarray | None:
        """(N, 4) float32: x1, y1, x2, y2."""
        return self._of_instances('bboxes')

    @cached_property
    def scores(self) -> np.ndarray | None:
        """(N,) float32, falling; of a classifier those of all its classes."""
        if 'pred_score' in self.sample:
            return self._class_scores[self.labels]
        return self._of_instances('scores')

    @cached_property
    def labels(self) -> np.ndarray | None:
        """(N,) int64, numbers of `names`."""
        if 'pred_score' in self.sample:
            return np.argsort(-self._class_scores, kind='stable')
        return self._of_instances('labels')

    @cached_property
    def masks(self) -> np.ndarray | None:
        """(N, H, W) bool."""
        masks = self._of_instances('masks')
        return None if masks is None else masks.astype(bool, copy=False)

    @cached_property
    def label_map(self) -> np.ndarray | None:
        """(H, W) int64, numbers of `names`."""
        if 'pred_sem_seg' not in self.sample:
            return None
        return label_map(self.sample.pred_sem_seg.data, self.image.shape[:2])

    @cached_property
    def segments(self) -> np.ndarray | None:
        """(H, W) int64 of a panoptic model: class + 1000 * number of the thing, 0 for stuff.

        Where there is no segment, it is the number of classes.
        """
        return found_segments(self.sample) if 'pred_panoptic_seg' in self.sample else None

    @property
    def _class_scores(self) -> np.ndarray:
        return to_float32(self.sample.pred_score).cpu().numpy()

    def _of_instances(self, name: str) -> np.ndarray | None:
        instances = self.sample.get('pred_instances')
        if instances is None or name not in instances:
            return None
        return to_float32(instances[name]).cpu().numpy()

    def only(self, *, score_thr: float = 0.0, hidden: Collection[int] = ()) -> Prediction:
        """What is left of the prediction without low scores and without some classes.

        Args:
            score_thr: predictions with a lower score are left out (detection only).
            hidden: numbers of the classes that are left out. Their pixels of a label map become -1,
                those of a panoptic model are in no segment.
        """
        sample, classes = self.sample.new(), list(hidden)
        if 'pred_instances' in sample:
            found = sample.pred_instances
            kept = ~torch.isin(found.labels, found.labels.new_tensor(classes))
            sample.pred_instances = found[kept & (found.scores >= score_thr)]
        if 'pred_sem_seg' in sample:
            labels = sample.pred_sem_seg.data.long()
            gone = torch.isin(labels, labels.new_tensor(classes))
            sample.pred_sem_seg = PixelData(data=labels.masked_fill(gone, -1))
        if 'pred_panoptic_seg' in sample:
            ids = sample.pred_panoptic_seg.sem_seg.long()
            gone = torch.isin(ids % INSTANCE_OFFSET, ids.new_tensor(classes))
            sample.pred_panoptic_seg = PixelData(sem_seg=ids.masked_fill(gone, len(self.names)))
        return replace(self, sample=sample)

    def plot(self, *, score_thr: float = 0.3, alpha: float = ALPHA) -> np.ndarray:
        """The image with what was predicted on it.

        Args:
            score_thr: predictions with a lower score are left out (detection only).
            alpha: how much of the colour of a mask or a map is seen, 0 to 1.

        Returns:
            (H, W, 3) uint8, RGB.
        """
        return render_prediction(
            self.visualizer, self.image, sample=self.sample, score_thr=score_thr, alpha=alpha
        )

    def save(self, path: str | Path, *, score_thr: float = 0.3, command: str = 'predictor') -> Path:
        """Writes the picture as a PNG, small ones enlarged, with a legend below a label map.

        Args:
            path: of the picture; its folder is made.
            score_thr: predictions with a lower score are left out (detection only).
            command: name of who writes.

        Raises:
            OutputError: the file is there, and was written by another.
        """
        return draw_sample(
            self.visualizer,
            self.image,
            sample=self.sample,
            out_file=path,
            command=command,
            score_thr=score_thr,
            ground_truth=False,
        )

    def to_json(self) -> list[dict[str, Any]]:
        """The prediction as `json.dumps` takes it, in the manner of COCO's results.

        Returns:
            An entry an object, a segment of a panoptic model, a class of a label map, or one of
            the five likeliest classes of a classifier:
            `category_id` (number of `names`), `category_name`, and as far as the model gives them
            `bbox` (x, y, width, height), `score`, and `segmentation` (run lengths: `size`,
            `counts`) with its `area`.
        """
        if self.label_map is not None:
            present = np.unique(self.label_map)
            known = present[(present >= 0) & (present < len(self.names))]
            return [self._entry(int(label), self.label_map == label) for label in known]
        if self.segments is not None:
            present = {
                int(segment): int(segment) % INSTANCE_OFFSET for segment in np.unique(self.segments)
            }
            known = {
                segment: label for segment, label in present.items() if label < len(self.names)
            }
            return [
                self._entry(label, self.segments == segment) for segment, label in known.items()
            ]
        if 'pred_score' in self.sample:
            likeliest = zip(self.labels[:_LIKELIEST], self.scores, strict=False)
            return [self._entry(int(n), None) | dict(score=float(score)) for n, score in likeliest]
        entries = []
        for number, label in enumerate(() if self.labels is None else self.labels):
            entry = self._entry(int(label), None if self.masks is None else self.masks[number])
            left, top, right, bottom = self.boxes[number].tolist()
            entry |= dict(bbox=[left, top, right - left, bottom - top])
            entries.append(entry | dict(score=float(self.scores[number])))
        return entries

    def _entry(self, label: int, mask: np.ndarray | None) -> dict[str, Any]:
        entry: dict[str, Any] = dict(category_id=label, category_name=self.names[label])
        if mask is not None:
            entry |= dict(segmentation=_run_lengths(mask), area=int(mask.sum()))
        return entry


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask (H, W)."""
    from pycocotools import mask as coco_mask  # comes with the toolboxes

    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    size: Sequence[int] = encoded['size']
    return dict(size=list(size), counts=encoded['counts'].decode())
