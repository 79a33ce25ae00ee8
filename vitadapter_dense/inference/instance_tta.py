"""Test-time augmentation that merges masks as well as boxes.

MMDetection's `DetTTAModel` refuses instance segmentation. Here the detections of all views are
turned back to the image and put together; non-maximum suppression keeps the best box of each
object, with the mask that was predicted in the view where that box was found. An enlarged image
serves small objects and a reduced one large ones, so that views may count for some sizes alone.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

# COCO's small, medium and large: areas in pixels of the image, from (not included) and to
BOX_AREAS = {'s': (-1.0, 32.0**2), 'm': (32.0**2, 96.0**2), 'l': (96.0**2, float('inf'))}
FLIPPED_DIMS = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


@MODELS.register_module()
class InstanceTTAModel(BaseTTAModel):
    """Merges the instances that a detector finds in the views of an image.

    One view alone gives what the detector gives without test-time augmentation.

    Args:
        tta_cfg: `nms`, the arguments of mmcv's `batched_nms`, `max_per_img`, how many instances
            are kept, and, if wanted, `box_sizes`: of each scale of the views, in their order,
            which boxes it may find, a string of `s`, `m` and `l`.
        **kwargs: `module`, the detector, and `data_preprocessor`, as in `BaseTTAModel`.

    Raises:
        ValueError: unknown sizes of boxes, or views that are not so many for each scale.
    """

    def __init__(self, tta_cfg: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tta_cfg = tta_cfg
        self.box_sizes: list[str] = list(tta_cfg.get('box_sizes') or [])
        unknown = [sizes for sizes in self.box_sizes if not sizes or set(sizes) - set(BOX_AREAS)]
        if unknown:
            raise ValueError(f"box_sizes {unknown}: give one or more of 's', 'm' and 'l' a scale")

    def test_step(self, data: dict[str, Any]) -> list[BaseDataElement]:
        """Predicts every view as the image that it is, and merges.

        Cascades of MMDetection turn masks of a sample with `flip` round themselves, before they are
        pasted, and by a negative step, which torch refuses.
        """
        for sample in (sample for view in data['data_samples'] for sample in view):
            turned = sample.metainfo['flip_direction'] if sample.metainfo.get('flip') else None
            sample.set_metainfo(dict(flip=False, turned=turned))
        return super().test_step(data)

    def merge_preds(self, data_samples_list: list[list[BaseDataElement]]) -> list[BaseDataElement]:
        """Merges, image by image, the data samples of its views."""
        return [self._merge_views(samples) for samples in data_samples_list]

    def _merge_views(self, samples: list[BaseDataElement]) -> BaseDataElement:
        from mmcv.ops import batched_nms

        found = [turned_back(sample) for sample in samples]
        if self.box_sizes and len(samples) > 1:
            scales = len(self.box_sizes)
            if len(samples) % scales:
                raise ValueError(
                    f'{len(samples)} views of {scales} scales: give box_sizes one entry for each '
                    'size of the tta_pipeline'
                )
            found = [
                of_sizes(instances, self.box_sizes[view * scales // len(samples)])
                for view, instances in enumerate(found)
            ]
        instances = InstanceData.cat(found)
        if len(samples) > 1 and len(instances):
            detections, kept = batched_nms(
                instances.bboxes, instances.scores, instances.labels, dict(self.tta_cfg['nms'])
            )
            most = self.tta_cfg['max_per_img']
            instances = instances[kept[:most]]
            instances.scores = detections[:most, -1]  # soft-NMS has lowered them
        merged = samples[0]
        merged.pred_instances = instances
        return merged


def of_sizes(instances: InstanceData, sizes: str) -> InstanceData:
    """Those whose boxes are small, medium or large in the image, whichever `sizes` has."""
    width, height = (instances.bboxes[:, 2:] - instances.bboxes[:, :2]).unbind(-1)
    areas = width * height
    kept = torch.zeros_like(areas, dtype=torch.bool)
    for smallest, largest in (BOX_AREAS[size] for size in sizes):
        kept |= (areas > smallest) & (areas <= largest)
    return instances[kept]


def turned_back(sample: BaseDataElement) -> InstanceData:
    """The predicted instances of a view in the coordinates of the unflipped image.

    Boxes (n, 4) and masks (n, H, W) are already at the image's original size. `turned` in the
    sample says in which direction the view is flipped.

    Raises:
        ValueError: when the view is flipped in a direction that is not known.
    """
    instances = sample.pred_instances
    direction = sample.metainfo['turned']
    if direction is None:
        return instances
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
