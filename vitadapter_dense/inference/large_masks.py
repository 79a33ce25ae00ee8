"""Mask2Former and the mask heads on large images: masks are enlarged one after another.

`MaskFormerFusionHead` of MMDetection enlarges the masks of all queries at once, and computes on
several float32 copies of them: 5 GB each for a hundred masks of 4000 x 3000. Here one mask at a
time is enlarged where all would take more than `KEPT_BYTES`; what is kept of it is a boolean mask
of an object, or its pixels of the segments. The results are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn
from torch.nn import functional as F

KEPT_BYTES = 2**28  # masks of an image that are enlarged together
_REPLACED = ('predict', 'instance_postprocess', 'panoptic_postprocess')


def bound_masks(model: nn.Module) -> None:
    """Has the mask models within a model enlarge one mask at a time where all would be large.

    Fusion heads that compute in another way than MMDetection's stay as they are.
    """
    try:
        from mmdet.models.seg_heads import MaskFormerFusionHead
    except ImportError:  # a segmentor, without MMDetection installed
        return
    for module in model.modules():
        if isinstance(module, MaskFormerFusionHead) and all(
            getattr(type(module), name) is getattr(MaskFormerFusionHead, name) for name in _REPLACED
        ):
            module.predict = partial(_predict, module)


def _predict(
    head: nn.Module,
    classes: Tensor,
    masks: Tensor,
    data_samples: Sequence[BaseDataElement],
    rescale: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    sizes = [sample.ori_shape if rescale else sample.img_shape for sample in data_samples]
    most = max(height * width for height, width, *_ in sizes)
    if 4 * masks.shape[1] * most <= KEPT_BYTES:
        return type(head).predict(head, classes, masks, data_samples, rescale=rescale, **options)
    results = []
    for of_image, logits, sample, size in zip(classes, masks, data_samples, sizes, strict=True):
        height, width = sample.img_shape[:2]
        inside, found = logits[:, :height, :width], {}
        if head.test_cfg.get('panoptic_on', True):
            found['pan_results'] = _segments(head, of_image, inside, size[:2])
        if head.test_cfg.get('instance_on', False):
            found['ins_results'] = _objects(head, of_image, inside, size[:2])
        results.append(found)
    return results


def _enlarged(logits: Tensor, size: Sequence[int]) -> Tensor:
    """`(h, w)` -> `size`."""
    options = dict(size=tuple(size), mode='bilinear', align_corners=False)
    return F.interpolate(logits[None, None], **options)[0, 0]


def _objects(head: nn.Module, classes: Tensor, masks: Tensor, size: Sequence[int]) -> InstanceData:
    """As `instance_postprocess`."""
    from mmdet.structures.mask import mask2bbox

    scores = classes.softmax(-1)[:, :-1].flatten()
    scores, best = scores.topk(head.test_cfg.get('max_per_image', 100), sorted=False)
    labels = best % head.num_classes
    things = labels < head.num_things_classes
    scores, labels, queries = scores[things], labels[things], best[things] // head.num_classes
    found = masks.new_zeros((len(queries), *size), dtype=torch.bool)
    for number, query in enumerate(queries):
        logits = _enlarged(masks[query], size)
        found[number] = logits > 0
        inside = logits[found[number]]
        scores[number] *= inside.sigmoid().sum() / (len(inside) + 1e-6)
    boxes = mask2bbox(found)
    return InstanceData(bboxes=boxes, labels=labels, scores=scores, masks=found)


def _segments(head: nn.Module, classes: Tensor, masks: Tensor, size: Sequence[int]) -> PixelData:
    """As `panoptic_postprocess`: every pixel goes to the mask that is surest of it."""
    from mmdet.structures import INSTANCE_OFFSET

    config = head.test_cfg
    scores, labels = classes.softmax(-1).max(-1)
    kept = labels.ne(head.num_classes) & (scores > config.get('object_mask_thr', 0.8))
    scores, labels, masks = scores[kept], labels[kept], masks[kept]
    surest = masks.new_full(tuple(size), -1.0)
    owner = masks.new_full(tuple(size), -1, dtype=torch.int16)
    areas = []
    for number, score in enumerate(scores):
        shares = _enlarged(masks[number], size).sigmoid()
        areas.append(int((shares >= 0.5).sum()))
        better = score * shares > surest
        surest = torch.where(better, score * shares, surest)
        owner[better] = number
    segments = torch.full_like(owner, head.num_classes, dtype=torch.int32)
    things = 0
    for number, label in enumerate(labels.tolist()):
        own = owner == number
        area = int(own.sum())
        if not area or not areas[number] or area / areas[number] < config.get('iou_thr', 0.8):
            continue
        if config.get('filter_low_score', False):
            own &= _enlarged(masks[number], size).sigmoid() >= 0.5
        if label < head.num_things_classes:
            things += 1
            segments[own] = label + things * INSTANCE_OFFSET
        else:
            segments[own] = label
    return PixelData(sem_seg=segments[None])
