"""Mask R-CNN, Cascade and HTC as a graph: one image in, a fixed number of objects out.

MMDetection chooses proposals and objects by boolean masks, whose length no graph knows. Here every
choice has a fixed length: the best so many by score, what is none of them with a score of zero.
Suppression gives the numbers of what is kept; it becomes a mask at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from vitadapter_dense.export.expectations import expect

_MOST_CANDIDATES = 4000  # pairs of box and class, before the last suppression


class RCNNGraph(nn.Module):
    """A normalised image `(1, 3, H, W)`, padded, and its own height and width `(2,)` -> objects.

    Outputs are `boxes (K, 4)` in pixels of the input, `scores (K,)`, falling, 0 where there is no
    object, `labels (K,)`, and `masks (K, h, w)`, probabilities within the boxes, of a detector that
    segments; K is the configuration's `max_per_img`.

    Args:
        model: a `TwoStageDetector` of MMDetection with the heads of Mask R-CNN, Cascade or HTC.

    Raises:
        ValueError: a part that the graph does not know, by name.
    """

    task = 'instances'
    input_names = ('images', 'image_size')

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        roi_head = model.roi_head
        self.with_masks = roi_head.with_mask
        self.flow = type(roi_head).__name__ == 'HybridTaskCascadeRoIHead'
        names = ('boxes', 'scores', 'labels')
        self.output_names = (*names, 'masks') if self.with_masks else names
        self._check()

    @property
    def num_classes(self) -> int:
        """Of objects."""
        return _listed(self.model.roi_head.bbox_head)[0].num_classes

    def _check(self) -> None:
        """Refuses what is computed in another way than here."""
        rpn, roi_head = self.model.rpn_head, self.model.roi_head
        known = ('StandardRoIHead', 'CascadeRoIHead', 'HybridTaskCascadeRoIHead')
        expect('roi_head', type(roi_head).__name__, known)
        expect('rpn_head', type(rpn).__name__, ('RPNHead',))
        expect('rpn_head.num_classes', rpn.num_classes, (1,))
        expect('rpn_head.use_sigmoid_cls', rpn.use_sigmoid_cls, (True,))
        generator = rpn.prior_generator
        expect('anchor_generator', type(generator).__name__, ('AnchorGenerator',))
        for name, config in (('rpn', rpn.test_cfg), ('rcnn', roi_head.test_cfg)):
            expect(f'test_cfg.{name}.nms.type', config.nms.get('type', 'nms'), ('nms',))
            other = set(config.nms) - {'type', 'iou_threshold'}
            expect(f'test_cfg.{name}.nms', sorted(other), ([],))
        for head in (rpn, *_listed(roi_head.bbox_head)):
            coder = head.bbox_coder
            expect('bbox_coder', type(coder).__name__, ('DeltaXYWHBBoxCoder',))
            expect('bbox_coder.add_ctr_clamp', coder.add_ctr_clamp, (False,))
            expect('bbox_coder.clip_border', coder.clip_border, (True,))
        for head in _listed(roi_head.bbox_head):
            expect('bbox_head.custom_cls_channels', head.custom_cls_channels, (False,))
        extractors = _listed(roi_head.bbox_roi_extractor)
        if self.with_masks:
            extractors += _listed(roi_head.mask_roi_extractor)
        for extractor in extractors:
            expect('roi_extractor', type(extractor).__name__, ('SingleRoIExtractor',))
            for layer in extractor.roi_layers:
                expect('roi_layer', type(layer).__name__, ('RoIAlign',))
                expect('roi_layer.pool_mode', layer.pool_mode, ('avg',))
        if self.with_masks:
            soft = roi_head.test_cfg.mask_thr_binary < 0
            expect('test_cfg.rcnn.mask_thr_binary < 0', soft, (False,))
        if self.flow and self.with_masks:
            expect('roi_head.mask_info_flow', roi_head.mask_info_flow, (True,))
        expect('shared_head', roi_head.with_shared_head, (False,))
        expect('semantic_head', getattr(roi_head, 'with_semantic', False), (False,))

    def forward(self, images: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        maps = self.model.extract_feat(images)
        proposals, real = self._proposals(maps, image_size)
        boxes, scores = self._boxes(maps, proposals, real, image_size)
        boxes, scores, labels = self._chosen(boxes, scores)
        if not self.with_masks:
            return boxes, scores, labels
        return boxes, scores, labels, self._masks(maps, boxes, labels)

    def _proposals(self, maps: Sequence[Tensor], image_size: Tensor) -> tuple[Tensor, Tensor]:
        """The RPN's boxes `(P, 4)` and which of them `(P,)` are any."""
        head = self.model.rpn_head
        config, coder = head.test_cfg, head.bbox_coder
        scores_of_maps, deltas_of_maps = head(maps)
        boxes, scores, levels = [], [], []
        for level, (score, delta) in enumerate(zip(scores_of_maps, deltas_of_maps, strict=True)):
            anchors = anchors_of(head.prior_generator, level, score)
            score = score[0].permute(1, 2, 0).flatten().sigmoid()
            delta = delta[0].permute(1, 2, 0).reshape(-1, 4)
            count = config.nms_pre
            # as many as are taken, however small the map
            score = torch.cat([score, score.new_full((count,), -1.0)])
            score, best = score.topk(count)
            inside = best.clamp(max=delta.shape[0] - 1)
            boxes.append(decode(coder, anchors[inside], delta[inside], image_size))
            scores.append(score)
            levels.append(torch.full_like(best, level))
        boxes, scores, levels = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
        if config.get('min_bbox_size', -1) >= 0:
            large = (boxes[:, 2:] - boxes[:, :2] > config.min_bbox_size).all(1)
            scores = torch.where(large, scores, -1.0)
        scores = suppressed(boxes, scores, levels, config.nms.iou_threshold)
        scores, best = scores.topk(min(config.max_per_img, scores.shape[0]))
        real = scores >= 0
        return torch.where(real[:, None], boxes[best], 0.0), real

    def _boxes(
        self, maps: Sequence[Tensor], proposals: Tensor, real: Tensor, image_size: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes `(P, 1 or C, 4)` and scores `(P, C)` of the proposals, 0 where there is none."""
        head = self.model.roi_head
        heads, extractors = _listed(head.bbox_head), _listed(head.bbox_roi_extractor)
        total = None
        for stage, (box_head, extractor) in enumerate(zip(heads, extractors, strict=True)):
            scores, deltas = box_head(regions(extractor, maps, proposals))
            total = scores if total is None else total + scores
            if stage < len(heads) - 1:
                if not box_head.reg_class_agnostic:
                    deltas = _of_class(deltas.unflatten(1, (-1, 4)), scores[:, :-1].argmax(1))
                proposals = decode(box_head.bbox_coder, proposals, deltas, image_size)
        deltas = deltas.unflatten(1, (-1, 4))  # (P, 1 or C, 4)
        boxes = decode(box_head.bbox_coder, proposals[:, None], deltas, image_size)
        scores = (total / len(heads)).softmax(-1)[:, :-1]
        return boxes, torch.where(real[:, None], scores, -1.0)

    def _chosen(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objects: boxes `(K, 4)`, scores `(K,)`, labels `(K,)`."""
        config = self.model.roi_head.test_cfg
        classes = scores.shape[1]
        flat = scores.flatten()
        flat, best = flat.topk(min(_MOST_CANDIDATES, flat.shape[0]))
        labels = best % classes
        boxes = boxes.expand(-1, classes, -1).reshape(-1, 4)[best]
        flat = torch.where(flat > config.score_thr, flat, -1.0)
        flat = suppressed(boxes, flat, labels, config.nms.iou_threshold)
        flat, best = flat.topk(min(config.max_per_img, flat.shape[0]))
        real = flat > 0
        boxes = torch.where(real[:, None], boxes[best], 0.0)
        return boxes, torch.where(real, flat, 0.0), labels[best]

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """`(K, h, w)`: probabilities; of a cascade the stages' mean, of HTC the last one's."""
        head = self.model.roi_head
        heads, extractors = _listed(head.mask_head), _listed(head.mask_roi_extractor)
        if self.flow:  # each stage is given what the one before has made, and the last one speaks
            found, last = regions(extractors[-1], maps, boxes), None
            for mask_head in heads:
                logits, last = mask_head(found, last)
            stages = [logits]
        else:
            stages = [
                mask_head(regions(extractor, maps, boxes))
                for mask_head, extractor in zip(heads, extractors, strict=True)
            ]
        shares = [
            (logits[:, 0] if heads[-1].class_agnostic else _of_class(logits, labels)).sigmoid()
            for logits in stages
        ]
        return sum(shares[1:], shares[0]) / len(shares)


def anchors_of(generator: Any, level: int, feature_map: Tensor) -> Tensor:
    """`(H * W * A, 4)`: the anchors of a level in the order of its scores.

    Args:
        generator: mmdet's `AnchorGenerator`.
        level: its number.
        feature_map: `(..., H, W)`.
    """
    base = generator.base_anchors[level].to(feature_map)
    across, down = generator.strides[level]
    height, width = feature_map.shape[-2:]
    x = torch.arange(width, device=base.device).to(base.dtype) * across
    y = torch.arange(height, device=base.device).to(base.dtype) * down
    y, x = torch.meshgrid(y, x, indexing='ij')
    places = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4)
    return (places + base).view(-1, 4)


def decode(coder: Any, boxes: Tensor, deltas: Tensor, image_size: Tensor) -> Tensor:
    """Moves boxes `(..., 4)` by deltas `(..., 4)`, and cuts them off at the image's borders.

    Args:
        coder: mmdet's `DeltaXYWHBBoxCoder`.
        boxes: x1, y1, x2, y2.
        deltas: what a head predicts.
        image_size: `(2,)`, height and width.
    """
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    centre, size = (boxes[..., :2] + boxes[..., 2:]) * 0.5, boxes[..., 2:] - boxes[..., :2]
    most = float(np.abs(np.log(16 / 1000)))
    centre = centre + size * deltas[..., :2]
    size = size * deltas[..., 2:].clamp(-most, most).exp()
    corners = torch.cat([centre - size * 0.5, centre + size * 0.5], dim=-1)
    return inside_of(corners, image_size)


def inside_of(boxes: Tensor, image_size: Tensor) -> Tensor:
    """Boxes `(..., 4)` cut off at the borders of an image, of height and width `(2,)`."""
    height, width = image_size.unbind()
    return boxes.clamp(min=0.0).minimum(torch.stack([width, height, width, height]))


def regions(extractor: nn.Module, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """RoIAlign `(P, C, h, w)` of each box `(P, 4)` on the map of its size.

    Every box goes through every map; on all but its own it has no area, and costs nothing.
    """
    maps = maps[: extractor.num_inputs]
    zeros = boxes.new_zeros((boxes.shape[0], 1))
    numbered = torch.cat([zeros, boxes], dim=1)
    levels = extractor.map_roi_levels(numbered, len(maps))[:, None]
    total = None
    for level, (layer, feature_map) in enumerate(zip(extractor.roi_layers, maps, strict=True)):
        own = levels == level
        found = torchvision.ops.roi_align(
            feature_map,
            torch.where(own, numbered, 0.0) if len(maps) > 1 else numbered,
            layer.output_size,
            layer.spatial_scale,
            layer.sampling_ratio,
            layer.aligned,
        )
        if len(maps) > 1:
            found = torch.where(own[:, :, None, None], found, 0.0)
        total = found if total is None else total + found
    return total


def suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Scores `(N,)`, -1 where a better box of the same group overlaps or the score is below 0.

    Boxes `(N, 4)` of each group are moved to a place of their own, as mmcv's `batched_nms` does.
    """
    usable = scores >= 0
    apart = groups.to(boxes.dtype) * (boxes.max() + 1)
    # what is none has no area, and suppresses nothing
    moved = torch.where(usable[:, None], boxes + apart[:, None], -1.0)
    kept = torchvision.ops.nms(moved, scores, threshold)
    chosen = torch.zeros_like(scores).index_fill(0, kept, 1.0)
    return torch.where((chosen > 0) & usable, scores, -1.0)


def _of_class(values: Tensor, labels: Tensor) -> Tensor:
    """`(N, C, ...)` and `(N,)` -> `(N, ...)`."""
    index = labels.view(-1, *[1] * (values.dim() - 1)).expand(-1, 1, *values.shape[2:])
    return values.gather(1, index)[:, 0]


def _listed(part: nn.Module) -> list[nn.Module]:
    return list(part) if isinstance(part, nn.ModuleList) else [part]
