"""Test-time augmentation that merges masks as well as boxes.

MMDetection's `DetTTAModel` refuses instance segmentation. Here the detections of all views are
turned back to the image and put together; non-maximum suppression keeps the best box of each
object, with the mask that was predicted in the view where that box was found.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

FLIPPED_DIMS = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


@MODELS.register_module()
class InstanceTTAModel(BaseTTAModel):
    """Merges the instances that a detector finds in the views of an image.

    One view alone gives what the detector gives without test-time augmentation.

    Args:
        tta_cfg: `nms`, the arguments of mmcv's `batched_nms`, and `max_per_img`, how many instances
            are kept.
        **kwargs: `module`, the detector, and `data_preprocessor`, as in `BaseTTAModel`.
    """

    def __init__(self, tta_cfg: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tta_cfg = tta_cfg

    def merge_preds(self, data_samples_list: list[list[BaseDataElement]]) -> list[BaseDataElement]:
        """Merges, image by image, the data samples of its views."""
        return [self._merge_views(samples) for samples in data_samples_list]

    def _merge_views(self, samples: list[BaseDataElement]) -> BaseDataElement:
        from mmcv.ops import batched_nms

        instances = InstanceData.cat([turned_back(sample) for sample in samples])
        if len(samples) > 1 and len(instances):
            _, kept = batched_nms(
                instances.bboxes, instances.scores, instances.labels, dict(self.tta_cfg['nms'])
            )
            instances = instances[kept[: self.tta_cfg['max_per_img']]]
        merged = samples[0]
        merged.pred_instances = instances
        return merged


def turned_back(sample: BaseDataElement) -> InstanceData:
    """The predicted instances of a view in the coordinates of the unflipped image.

    Boxes (n, 4) and masks (n, H, W) are already at the image's original size.

    Raises:
        ValueError: when the view is flipped in a direction that is not known.
    """
    instances = sample.pred_instances
    if not sample.metainfo.get('flip'):
        return instances
    direction = sample.metainfo['flip_direction']
    if direction not in FLIPPED_DIMS:
        raise ValueError(f'unknown flip direction {direction!r}; known: {", ".join(FLIPPED_DIMS)}')
    dims = FLIPPED_DIMS[direction]
    instances.bboxes = flip_boxes(instances.bboxes, sample.metainfo['ori_shape'], dims=dims)
    if 'masks' in instances:
        instances.masks = instances.masks.flip(dims)
    return instances


def flip_boxes(boxes: Tensor, shape: tuple[int, int], *, dims: tuple[int, ...]) -> Tensor:
    """Mirrors boxes (n, 4), x1 y1 x2 y2, in an image of (H, W): -1 left to right, -2 up to down."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    height, width = shape[:2]
    if -1 in dims:
        x1, x2 = width - x2, width - x1
    if -2 in dims:
        y1, y2 = height - y2, height - y1
    return torch.stack((x1, y1, x2, y2), dim=-1)
