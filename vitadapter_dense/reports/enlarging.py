"""Brings an image to another size with everything that is drawn on it.

Names are written at a size in pixels, whatever the size of the image: on one of 192 x 192 a name is
as large as an object. So a small image is enlarged before, and one for a report made small.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

_OF_CLASSES = ('gt_label', 'pred_label', 'pred_score')  # which have no place in the image
LEAST_SIDE = 640  # what the longer side of a picture is brought near to, in pixels


def drawing_factor(shape: tuple[int, ...]) -> int:
    """How many times an image (H, W, ...) is enlarged for drawing; 1 for one that is large."""
    return max(1, LEAST_SIDE // max(shape[:2]))


def enlarge(
    image: np.ndarray, sample: BaseDataElement, *, factor: float
) -> tuple[np.ndarray, BaseDataElement]:
    """The image and its data sample at a multiple of their size.

    Args:
        image: (H, W, 3).
        sample: boxes (n, 4) and masks (n, H, W) are tensors or the toolbox's own, maps (1, H, W)
            tensors. It is not changed.
        factor: how many times wider and higher; below 1 makes it smaller.

    Returns:
        The image, interpolated, and a sample with what the visualizers draw: instances, maps,
        classes.
    """
    size = tuple(max(1, round(side * factor)) for side in image.shape[:2])
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    image = cv2.resize(image, size[::-1], interpolation=how)
    grown = type(sample)(metainfo=sample.metainfo)
    for name, element in sample.items():
        if isinstance(element, InstanceData):
            setattr(grown, name, _enlarge_instances(element, factor, size))
        elif isinstance(element, PixelData) and name.endswith('_seg'):
            maps = {key: _nearest(value, size) for key, value in element.items()}
            setattr(grown, name, PixelData(**maps))
        elif name in _OF_CLASSES:
            setattr(grown, name, element)
    return image, grown


def _enlarge_instances(
    instances: InstanceData, factor: float, size: tuple[int, int]
) -> InstanceData:
    values: dict[str, Any] = dict(instances.items())
    if 'bboxes' in values:
        boxes = values['bboxes']
        values['bboxes'] = getattr(boxes, 'tensor', boxes) * factor
    if 'masks' in values:
        masks = values['masks']
        resized = _nearest(masks, size) if isinstance(masks, Tensor) else masks.resize(size)
        values['masks'] = resized
    return InstanceData(metainfo=instances.metainfo, **values)


def _nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W) -> (..., *size), each pixel that of the same place."""
    rows, columns = (
        torch.arange(new, device=maps.device) * old // new
        for new, old in zip(size, maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, None], columns]
