"""ATSS and GFL as a graph: one image in, a fixed number of objects out.

MMDetection takes what is above a threshold; here every level gives its best so many, and what is
not above it has a score below zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitadapter_dense.export.detectors import anchors_of, decode, inside_of, suppressed
from vitadapter_dense.export.expectations import expect


class DenseGraph(nn.Module):
    """A normalised image `(1, 3, H, W)`, padded, and its own height and width `(2,)` -> objects.

    Outputs are `boxes (K, 4)` in pixels of the input, `scores (K,)`, falling, 0 where there is no
    object, and `labels (K,)`; K is the configuration's `max_per_img`.

    Args:
        model: MMDetection's `ATSS` or `GFL`.

    Raises:
        ValueError: a part that the graph does not know, by name.
    """

    task = 'instances'
    input_names = ('images', 'image_size')
    output_names = ('boxes', 'scores', 'labels')

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        head = model.bbox_head
        expect('bbox_head', type(head).__name__, ('ATSSHead', 'GFLHead'))
        self.of_distances = type(head).__name__ == 'GFLHead'
        expect('bbox_head.use_sigmoid_cls', head.use_sigmoid_cls, (True,))
        generator = type(head.prior_generator).__name__
        expect('anchor_generator', generator, ('AnchorGenerator',))
        coder = head.bbox_coder
        known = 'DistancePointBBoxCoder' if self.of_distances else 'DeltaXYWHBBoxCoder'
        expect('bbox_coder', type(coder).__name__, (known,))
        expect('bbox_coder.clip_border', coder.clip_border, (True,))
        expect('bbox_coder.add_ctr_clamp', getattr(coder, 'add_ctr_clamp', False), (False,))
        config = head.test_cfg
        # of boxes in pixels of the image itself, which the graph does not know
        expect('test_cfg.min_bbox_size', config.get('min_bbox_size', -1), (-1, 0))
        expect('test_cfg.nms.type', config.nms.get('type', 'nms'), ('nms',))
        expect('test_cfg.nms', sorted(set(config.nms) - {'type', 'iou_threshold'}), ([],))

    @property
    def num_classes(self) -> int:
        """Of objects."""
        return self.model.bbox_head.num_classes

    def forward(self, images: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        head = self.model.bbox_head
        config = head.test_cfg
        levels = zip(*head(self.model.extract_feat(images)), strict=True)
        found = [self._of_level(level, *maps, image_size) for level, maps in enumerate(levels)]
        boxes, scores, labels = map(torch.cat, zip(*found, strict=True))
        if config.get('min_bbox_size', -1) == 0:
            scores = torch.where((boxes[:, 2:] > boxes[:, :2]).all(1), scores, -1.0)
        scores = suppressed(boxes, scores, labels, config.nms.iou_threshold)
        scores, best = scores.topk(min(config.max_per_img, scores.shape[0]))
        real = scores > 0
        boxes = torch.where(real[:, None], boxes[best], 0.0)
        return boxes, torch.where(real, scores, 0.0), labels[best]

    def _of_level(
        self, level: int, classes: Tensor, deltas: Tensor, *others: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes `(N, 4)`, scores and labels `(N,)`: the best `nms_pre` pairs of place and class."""
        *centerness, image_size = others
        head = self.model.bbox_head
        config, count = head.test_cfg, head.test_cfg.nms_pre
        anchors = anchors_of(head.prior_generator, level, classes)
        scores = classes[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels).sigmoid()
        flat = scores.flatten()
        # as many as are taken, however small the map
        best_scores, best = torch.cat([flat, flat.new_full((count,), -1.0)]).topk(count)
        best = best.clamp(max=flat.shape[0] - 1)
        place, label = best // scores.shape[1], best % scores.shape[1]
        usable = best_scores > config.score_thr
        if centerness:
            share = centerness[0][0].permute(1, 2, 0).flatten().sigmoid()
            best_scores = best_scores * share[place]
        anchors = anchors[place]
        if self.of_distances:
            stride = head.prior_generator.strides[level][0]
            distances = head.integral(deltas[0].permute(1, 2, 0))[place] * stride
            centre = (anchors[:, :2] + anchors[:, 2:]) * 0.5
            boxes = torch.cat([centre - distances[:, :2], centre + distances[:, 2:]], dim=-1)
            boxes = inside_of(boxes, image_size)
        else:
            offsets = deltas[0].permute(1, 2, 0).reshape(-1, 4)[place]
            boxes = decode(head.bbox_coder, anchors, offsets, image_size)
        return boxes, torch.where(usable, best_scores, -1.0), label
