"""Suppression and overlaps of boxes ``(x1, y1, x2, y2)``.

``offset`` is 0, or 1 for boxes whose last pixel belongs to them (width ``x2 - x1 + 1``).
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor

from mmcv_ops.precision import wide, wide_real


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices ``(K,)`` of the boxes that are kept, by falling score.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        iou_threshold: a box that overlaps a better one by more is dropped.
        offset: see the module's text.
    """
    boxes, scores = wide_real(boxes, 'boxes'), wide(scores)
    if offset:  # with the last pixel counted, a box reaches one further
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al., https://arxiv.org/abs/1704.04503): overlap lowers scores.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        dets: ``(N, 5)``; its first K rows are written: box and lowered score.
        iou_threshold: from which overlap on methods 0 and 1 act.
        sigma: of method 2.
        min_score: what falls below it is dropped.
        method: 0 plain suppression, 1 linear, 2 Gaussian.
        offset: see the module's text.

    Returns:
        Indices ``(K,)`` of the boxes, in the order of their choice.
    """
    inds: list[int] = []
    boxes, left = wide_real(boxes, 'boxes'), wide(scores).clone()
    areas = _areas(boxes, offset)
    alive = torch.ones_like(left, dtype=torch.bool)
    while len(inds) < len(boxes) and alive.any():
        best = int(left.masked_fill(~alive, -torch.inf).argmax())
        dets[len(inds), :4], dets[len(inds), 4] = boxes[best], left[best]
        inds.append(best)
        alive[best] = False
        overlap = _pairwise(boxes[best : best + 1], boxes, areas[best : best + 1], areas, offset)[0]
        if method == 2:
            weight = torch.exp(-overlap.square() / sigma)
        else:
            lowered = 1 - overlap if method == 1 else torch.zeros_like(overlap)
            weight = torch.where(overlap >= iou_threshold, lowered, 1.0)
        left = torch.where(alive, left * weight, left)
        alive &= left >= min_score
    return torch.tensor(inds, dtype=torch.long, device=boxes.device)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of boxes: each one that is kept, with those that it suppresses, by falling score.

    Args:
        dets: ``(N, 5)``: box and score.
        iou_threshold: a box that overlaps a kept one by as much or more joins its group.
    """
    dets = wide(dets)
    order = dets[:, 4].sort(descending=True, stable=True).indices
    boxes = dets[order, :4]
    areas = _areas(boxes, 0)
    free = torch.ones(len(boxes), dtype=torch.bool, device=dets.device)
    groups = []
    for index in range(len(boxes)):
        if not free[index]:
            continue
        one = slice(index, index + 1)
        joins = free & (_pairwise(boxes[one], boxes, areas[one], areas, 0)[0] >= iou_threshold)
        joins[: index + 1] = False
        free &= ~joins
        groups.append([int(order[index]), *order[joins].tolist()])
    return groups


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Writes overlaps to ``ious``.

    Args:
        bboxes1: ``(M, 4)``.
        bboxes2: ``(N, 4)``.
        ious: ``(M, N)``, or ``(M,)`` for ``aligned`` boxes.
        mode: 0 intersection over union, 1 over the area of ``bboxes1``.
        aligned: the i-th with the i-th only.
        offset: see the module's text.
    """
    first, second = wide_real(bboxes1, 'boxes'), wide_real(bboxes2, 'boxes')
    area1, area2 = _areas(first, offset), _areas(second, offset)
    if not aligned:
        ious.copy_(_pairwise(first, second, area1, area2, offset, over_first=mode == 1))
        return
    inside = _intersection(first, second, offset)
    ious.copy_(inside / (area1 if mode == 1 else area1 + area2 - inside))


def _areas(boxes: Tensor, offset: int) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1)


def _intersection(first: Tensor, second: Tensor, offset: int) -> Tensor:
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    return (high - low + offset).clamp(min=0).prod(dim=-1)


def _pairwise(
    first: Tensor,
    second: Tensor,
    area1: Tensor,
    area2: Tensor,
    offset: int,
    *,
    over_first: bool = False,
) -> Tensor:
    inside = _intersection(first[:, None], second, offset)  # (M, N)
    return inside / (area1[:, None] if over_first else area1[:, None] + area2 - inside)
