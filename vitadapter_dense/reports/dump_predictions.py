"""What `tools/test.py --out` writes: every prediction, without what nobody can keep in memory.

MMEngine's `DumpResults` keeps the logits of every class (150 float32 values a pixel) of all images
until the end. Here label maps are kept in one byte a pixel, masks as RLE, and both on the disk.
"""

from __future__ import annotations

import pickle
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS
from torch import Tensor

from vitadapter_dense.reports.output_files import check_outputs, write_output

Place = tuple[str, int]  # a spool file, and where an entry begins in it
_LEFT_OUT = ('gt_', 'ignored_', 'seg_logits')


@METRICS.register_module()
class DumpPredictions(BaseMetric):
    """Writes a pickled list with a dictionary for every image, in the order of the data set.

    It has what the data sample has, but ground truth and logits. A label map is (1, H, W), uint8
    (int32 with more than 256 classes), masks are COCO's RLE.

    Args:
        out_file_path: `.pkl` or `.pickle`; the processes must share its folder.
        collect_device: as in MMEngine's `BaseMetric`.
    """

    def __init__(self, out_file_path: str, *, collect_device: str = 'cpu') -> None:
        super().__init__(collect_device=collect_device)
        self.out_file = Path(out_file_path)
        if self.out_file.suffix not in ('.pkl', '.pickle'):
            raise ValueError(f'{out_file_path!r} must end with .pkl or .pickle')
        check_outputs([self.out_file], command='test')
        self._spool: Path | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Put the predictions of a batch on the disk."""
        if self._spool is None:
            self._spool = self._new_spool()
        with self._spool.open('ab') as file:
            for sample in data_samples:
                self.results.append((str(self._spool), file.tell()))
                pickle.dump(slim(sample), file)

    def evaluate(self, size: int) -> dict:
        """Write the file, in the first process, and take the parts of this one away."""
        try:
            return super().evaluate(size)
        finally:
            if self._spool is not None:
                self._spool.unlink(missing_ok=True)
            self._spool = None

    def compute_metrics(self, results: list[Place]) -> dict[str, float]:
        """Put the parts of all processes together."""
        with write_output(self.out_file, command='test') as partial, partial.open('wb') as file:
            pickler = pickle.Pickler(file, protocol=4)
            pickler.fast = True  # otherwise it keeps everything that it has written
            pickler.dump(_Listed(results))
        print_log(f'the predictions are written to {self.out_file}', logger='current')
        return {}

    def _new_spool(self) -> Path:
        self.out_file.parent.mkdir(parents=True, exist_ok=True)
        kind = dict(prefix='.predictions-', suffix='.partial', dir=self.out_file.parent)
        with tempfile.NamedTemporaryFile(delete=False, **kind) as file:
            path = Path(file.name)
        weakref.finalize(self, path.unlink, missing_ok=True)
        return path


class _Listed:
    """Is pickled as a list of the spooled entries, which are read one at a time."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places

    def __reduce__(self) -> tuple:
        return list, (), None, self._entries()

    def _entries(self) -> Iterator[dict[str, Any]]:
        for spool, start in self.places:
            with open(spool, 'rb') as file:
                file.seek(start)
                yield pickle.load(file)


def slim(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A data sample as a dictionary on the CPU, without ground truth and logits."""
    kept = {key: value for key, value in sample.items() if not key.startswith(_LEFT_OUT)}
    return {key: _slim_value(key, value) for key, value in kept.items()}


def _slim_value(key: str, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()  # not the storage of which it may be a part
    if isinstance(value, Mapping):
        inner = {name: _slim_value(name, entry) for name, entry in value.items()}
        if key == 'pred_sem_seg':
            inner['data'] = _small_integers(inner['data'])
        if isinstance(inner.get('masks'), Tensor):
            inner['masks'] = _encoded(inner['masks'])
        return inner
    if isinstance(value, (list, tuple)):
        return type(value)(_slim_value(key, entry) for entry in value)
    return value


def _small_integers(labels: Tensor) -> Tensor:
    large = labels.numel() and labels.max() > 255
    return labels.to(torch.int32 if large else torch.uint8)


def _encoded(masks: Tensor) -> list[dict[str, Any]]:
    """(n, H, W) -> COCO's RLE of each."""
    from pycocotools import mask as coco_mask

    # pycocotools reads (H, W, n), column by column
    return coco_mask.encode(masks.permute(1, 2, 0).numpy().astype('uint8', order='F'))
