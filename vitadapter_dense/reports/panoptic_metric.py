"""Panoptic quality as a metric of a run, on COCO's panoptic files.

MMDetection's `CocoPanopticMetric` needs the package panopticapi and writes every prediction to a
file; this one counts in memory, and gives the same figures under the same names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get
from mmengine.logging import print_log
from mmengine.registry import METRICS

from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.datasets.panoptic_files import (
    PanopticFile,
    compare_ids,
    decode_panoptic,
    read_panoptic_file,
)
from vitadapter_dense.reports.panoptic_quality import (
    Quality,
    TrueSegment,
    class_qualities,
    count_image,
    mean_quality,
)

#: A prediction is class + 1000 * number of the instance (mmdet.structures.INSTANCE_OFFSET).
INSTANCE_OFFSET = 1000


@METRICS.register_module()
class PanopticQuality(BaseMetric):
    """PQ, SQ and RQ in percent: of all classes, of things (`PQ_th`, ...) and of stuff (`PQ_st`).

    A class that neither occurs nor was predicted is left out of a mean; where none is left, the
    figure is NaN.

    Args:
        ann_file: COCO's panoptic JSON.
        seg_prefix: folder of its PNGs.
        classwise: also log the figures of every class; `qualities` has them either way.
        void_classes: names of classes whose segments count as if nobody had labelled them.
        backend_args: arguments of MMEngine's file backend, for PNGs that are not on a local disk.
        collect_device: as in MMEngine's `BaseMetric`.
        prefix: as well.

    Attributes:
        qualities: by the class's name, of the last evaluation, in the first process; None for a
            class that was left out.
    """

    default_prefix = 'coco_panoptic'

    def __init__(
        self,
        ann_file: str,
        seg_prefix: str,
        *,
        classwise: bool = False,
        void_classes: Sequence[str] = (),
        backend_args: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ann_file = str(ann_file)
        self.seg_prefix = str(seg_prefix)
        self.classwise = classwise
        self.void_classes = frozenset(void_classes)
        self.backend_args = None if backend_args is None else dict(backend_args)
        self.qualities: dict[str, Quality | None] = {}
        self._file: PanopticFile | None = None
        self._labels: dict[Any, int] = {}

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Count the matches of a batch's images."""
        if self._file is None:
            self._file = read_panoptic_file(self.ann_file)
            self._labels = self._number_categories(self._file)
        classes = self.dataset_meta['classes']
        for sample in data_samples:
            truth, true_segments = self._read_truth(sample['img_id'])
            found = np.asarray(sample['pred_panoptic_seg']['sem_seg'].cpu())[0]
            if found.shape != truth.shape:
                raise DatasetError(
                    f'the prediction of {sample["img_path"]} is {found.shape[1]} x '
                    f'{found.shape[0]} pixels, and its panoptic map {truth.shape[1]} x '
                    f'{truth.shape[0]} (width x height). Mend: make the map from this very image.'
                )
            labels = {
                identity: identity % INSTANCE_OFFSET for identity in np.unique(found).tolist()
            }
            found_segments = {key: label for key, label in labels.items() if label < len(classes)}
            self.results.append(
                count_image(truth, true_segments, found, found_segments, num_classes=len(classes))
            )

    def _number_categories(self, file: PanopticFile) -> dict[Any, int]:
        """The number of each category in the model, by its id in the file."""
        numbers = {name: number for number, name in enumerate(self.dataset_meta['classes'])}
        names = numbers.keys() - self.void_classes
        return {c['id']: numbers[c['name']] for c in file.categories if c['name'] in names}

    def _read_truth(self, image_id: Any) -> tuple[np.ndarray, dict[int, TrueSegment]]:
        entry = self._file.images.get(image_id)
        if entry is None:
            raise DatasetError(
                f'{self.ann_file} has no segments of the image with id {image_id!r}. Mend: give '
                "the evaluator's ann_file and the data set the same file."
            )
        path = os.path.join(self.seg_prefix, entry.file_name)
        ids = decode_panoptic(get(path, backend_args=self.backend_args), name=path)
        if problem := compare_ids(ids, entry.segments, name=path):
            raise DatasetError(problem)
        segments = {
            identity: TrueSegment(
                self._labels[segment['category_id']], bool(segment.get('iscrowd', 0))
            )
            for identity, segment in entry.segments.items()
            if segment['category_id'] in self._labels
        }
        return ids, segments

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Put the counts of all images together."""
        classes = self.dataset_meta['classes']
        qualities = class_qualities(np.sum(results, axis=0))
        self.qualities = dict(zip(classes, qualities, strict=True))
        things = set(self.dataset_meta.get('thing_classes', classes))
        kinds = {
            '': classes,
            '_th': [name for name in classes if name in things],
            '_st': [name for name in classes if name not in things],
        }
        found = {}
        for suffix, names in kinds.items():
            mean = mean_quality([self.qualities[name] for name in names])
            for what in ('pq', 'sq', 'rq'):
                value = float('nan') if mean is None else 100 * getattr(mean, what)
                found[f'{what.upper()}{suffix}'] = value
        if self.classwise:
            print_log('\n'.join(self._class_lines()), logger='current')
        return found

    def _class_lines(self) -> list[str]:
        wide = max(map(len, self.qualities))
        lines = [f'Panoptic quality by class ({Path(self.ann_file).name}):']
        lines.append(f'{"class":<{wide}}     PQ     SQ     RQ')
        for name, quality in self.qualities.items():
            values = (quality.pq, quality.sq, quality.rq) if quality else ()
            cells = ''.join(f'{100 * value:7.2f}' for value in values) or '      -' * 3
            lines.append(f'{name:<{wide}}{cells}')
        return lines
