"""Load what a panoptic model learns from: boxes and masks of things, and a map of all classes.

MMDetection's `LoadPanopticAnnotations` needs the package panopticapi; this one needs none, and
names the file that does not fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from .errors import DatasetError
from .load_seg_map import IGNORED
from .panoptic_files import decode_panoptic


@TRANSFORMS.register_module()
class LoadPanopticChecked:
    """Load the panoptic map of a sample of MMDetection's `CocoPanopticDataset`.

    Reads `seg_map_path`, `segments_info`, `instances` and `ori_shape`. Sets, for the things that
    are no crowds, `gt_bboxes`, `gt_bboxes_labels`, `gt_ignore_flags` and `gt_masks`; and
    `gt_seg_map` (H, W) int32, the class of each pixel, 255 where it has none. A sample without a
    map, for a prediction alone, is left as it is.

    Args:
        backend_args: arguments of MMEngine's file backend, for files that are not on a local disk.

    Raises:
        DatasetError: when called, for a map that is not there or does not fit its segments.
    """

    def __init__(self, *, backend_args: dict | None = None) -> None:
        self.backend_args = None if backend_args is None else dict(backend_args)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        from mmdet.structures.bbox import HorizontalBoxes
        from mmdet.structures.mask import BitmapMasks

        path = results.get('seg_map_path')
        if path is None:
            return results
        ids = self._read(path, results)
        masks = []
        seg_map = np.full(ids.shape, IGNORED, np.int32)
        for segment in results['segments_info']:
            mask = ids == segment['id']
            if not mask.any():
                raise DatasetError(
                    f'panoptic map {path} has no pixel of segment {segment["id"]}, which its JSON '
                    'lists. Mend: take map and JSON from the same release.'
                )
            seg_map[mask] = segment['category']
            if segment['is_thing']:
                masks.append(mask.astype(np.uint8))
        things = results['instances']  # in the order of the segments
        boxes = np.array([thing['bbox'] for thing in things], np.float32).reshape(-1, 4)
        results['gt_bboxes'] = HorizontalBoxes(boxes)
        results['gt_bboxes_labels'] = np.array([t['bbox_label'] for t in things], np.int64)
        results['gt_ignore_flags'] = np.zeros(len(things), bool)
        results['gt_masks'] = BitmapMasks(masks, *ids.shape)
        results['gt_seg_map'] = seg_map
        results['ignore_index'] = IGNORED
        return results

    def _read(self, path: str, results: dict[str, Any]) -> np.ndarray:
        try:
            data = fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise DatasetError(
                f'image {results["img_path"]} has no panoptic map: {path} cannot be read '
                f'({error}). Mend: unpack the maps there, or correct data_prefix.seg.'
            ) from error
        ids = decode_panoptic(data, name=path)
        if ids.shape != tuple(results['ori_shape']):
            height, width = results['ori_shape']
            raise DatasetError(
                f'panoptic map {path} is {ids.shape[1]} x {ids.shape[0]} pixels, but its image '
                f'{results["img_path"]} is {width} x {height} (width x height). Mend: make the map '
                'from this very image; do not resize one of the two alone.'
            )
        return ids

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
