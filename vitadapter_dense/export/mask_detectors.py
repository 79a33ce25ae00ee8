"""Mask2Former and the mask heads, of objects, as a graph: one image in, so many masks out."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from vitadapter_dense.export.expectations import expect
from vitadapter_dense.export.unknown_size import UnknownSize


class ObjectMaskGraph(nn.Module):
    """A normalised image `(1, 3, H, W)`, padded -> masks with their classes.

    Outputs are `scores (K,)` of the classes, 0 for what is no object, `labels (K,)` and
    `mask_logits (K, H, W)`; K is the configuration's `max_per_image`. Boxes, and the share of the
    score that a mask has, come from masks at the size of the image itself, so after the file:
    `objects_of_masks` of the predictor without torch.

    Args:
        model: MMDetection's `MaskFormer` or `Mask2Former`, which finds objects.

    Raises:
        ValueError: it finds segments of everything.
    """

    task = 'instances'
    input_names = ('images',)
    output_names = ('scores', 'labels', 'mask_logits')

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        config = model.panoptic_fusion_head.test_cfg or {}
        expect('test_cfg.panoptic_on', config.get('panoptic_on', True), (False,))
        expect('test_cfg.instance_on', config.get('instance_on', False), (True,))
        self.most = config.get('max_per_image', 100)

    @property
    def num_classes(self) -> int:
        """Of objects, which come before what else there is."""
        return self.model.panoptic_fusion_head.num_things_classes

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        fusion = self.model.panoptic_fusion_head
        sample = SimpleNamespace(metainfo=dict(batch_input_shape=UnknownSize(images.shape[2:])))
        maps = self.model.extract_feat(images)
        classes, masks = self.model.panoptic_head.predict(maps, [sample])
        scores = classes[0].softmax(-1)[:, :-1]
        scores, best = scores.flatten().topk(self.most)
        labels = best % fusion.num_classes
        scores = torch.where(labels < fusion.num_things_classes, scores, 0.0)
        return scores, labels, masks[0][best // fusion.num_classes]
