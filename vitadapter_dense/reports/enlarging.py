"""Enlarges a small image with everything that is drawn on it, so that labels do not hide objects.

The toolboxes' visualizers write class names at a size in pixels, whatever the size of the image: on
one of 192 x 192 a name is as large as an object.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

LEAST_SIDE = 640  # what the longer side of a picture is brought near to, in pixels


def drawing_factor(shape: tuple[int, ...]) -> int:
    """How many times an image (H, W, ...) is enlarged for drawing; 1 for one that is large."""
    return max(1, LEAST_SIDE // max(shape[:2]))


def enlarge(
    image: np.ndarray, sample: BaseDataElement, *, factor: int
) -> tuple[np.ndarray, BaseDataElement]:
    """The image and its data sample at a multiple of their size.

    Args:
        image: (H, W, 3).
        sample: boxes (n, 4) and masks (n, H, W) are tensors or the toolbox's own, maps (1, H, W)
            tensors. It is not changed.
        factor: how many times wider and higher.

    Returns:
        The image, interpolated, and a sample with what the visualizers draw: instances and maps.
    """
    size = (image.shape[1] * factor, image.shape[0] * factor)
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    grown = type(sample)(metainfo=sample.metainfo)
    for name, element in sample.items():
        if isinstance(element, InstanceData):
            setattr(grown, name, _enlarge_instances(element, factor))
        elif isinstance(element, PixelData) and name.endswith('_seg'):
            maps = {key: _repeat(value, factor) for key, value in element.items()}
            setattr(grown, name, PixelData(**maps))
    return image, grown


def _enlarge_instances(instances: InstanceData, factor: int) -> InstanceData:
    values: dict[str, Any] = dict(instances.items())
    if 'bboxes' in values:
        boxes = values['bboxes']
        values['bboxes'] = getattr(boxes, 'tensor', boxes) * factor
    if 'masks' in values:
        values['masks'] = _enlarge_masks(values['masks'], factor)
    return InstanceData(metainfo=instances.metainfo, **values)


def _enlarge_masks(masks: Any, factor: int) -> Any:
    if isinstance(masks, Tensor):
        return _repeat(masks, factor)
    return masks.resize((masks.height * factor, masks.width * factor))


def _repeat(maps: Tensor, factor: int) -> Tensor:
    return maps.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
