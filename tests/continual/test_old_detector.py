"""The old detector labels the objects that it knows: which, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

pytest.importorskip('mmdet')

from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks

from vitadapter_dense.continual.old_detector import OldDetector

# box of the input image, label, score: what the old model is made to find
FOUND = [
    ([0, 0, 10, 10], 0, 0.9),
    ([0, 0, 10, 8], 0, 0.8),  # overlaps the first by 0.8: the same object
    ([0, 0, 10, 6], 2, 0.7),  # by 0.6: another, of another class
    ([20, 0, 30, 10], 2, 0.5),  # not surer than the threshold
    ([20, 10, 30, 20], 1, 0.9),  # of a class that it did not know
    ([0, 20, 10, 30], 0, 0.95),  # labelled already, as a new class
    ([12, 0, 12.5, 10], 0, 0.9),  # thinner than a pixel
    ([36, 0, 60, 10], 2, 0.8),  # beyond the image for the most part
    ([50, 0, 60, 10], 0, 0.9),  # for all of it
]
INSIDE = {7: [36, 0, 40, 10]}
LABELLED = ([0, 20, 10, 29], 1)
KEPT = [0, 2, 7]


class Detector(nn.Module):
    """Finds `FOUND`, rescaled to the image that was read, as MMDetection's do; sees its rows."""

    def __init__(self, masks: bool) -> None:
        super().__init__()
        self.roi_head = nn.Module()
        self.roi_head.fc_cls = nn.Linear(2, 4)  # three classes and no object
        self.masks = masks

    def forward(self, images: Tensor, samples: list[Any], mode: str) -> list[Any]:
        assert mode == 'predict'
        assert not self.training
        self.logits = self.roi_head.fc_cls(torch.zeros(1, 2))
        for sample in samples:
            assert 'gt_instances' not in sample
            scale = torch.tensor([*sample.scale_factor, *sample.scale_factor])
            boxes = torch.tensor([box for box, _, _ in FOUND]) / scale
            found = InstanceData(bboxes=boxes, labels=torch.tensor([one[1] for one in FOUND]))
            found.scores = torch.tensor([score for _, _, score in FOUND])
            if self.masks:
                found.masks = torch.stack([filled(box, sample.ori_shape) for box in boxes])
            sample.pred_instances = found
        return samples


def filled(box: Any, size: tuple[int, int]) -> Tensor:
    """A mask that is where the box is."""
    x1, y1, x2, y2 = (int(value) for value in box)
    mask = torch.zeros(size, dtype=torch.bool)
    mask[y1:y2, x1:x2] = True
    return mask


@pytest.mark.parametrize(('masks', 'finds_masks'), [(False, False), (True, True), (True, False)])
def test_sure_objects_that_nobody_labelled_are_labelled(masks: bool, finds_masks: bool) -> None:
    model = Detector(finds_masks)
    old = OldDetector(model, model.state_dict(), task=0, num_classes=3, known=[0, 2])
    # read at twice the size, cropped to 30 x 40, and padded to 32 x 48 in the batch
    size, padded = (30, 40), (32, 48)
    meta = dict(img_shape=size, ori_shape=(100, 120), scale_factor=(0.5, 0.5))
    given = InstanceData(
        bboxes=torch.tensor([LABELLED[0]]).float(), labels=torch.tensor([LABELLED[1]])
    )
    if masks:
        given.masks = BitmapMasks(filled(LABELLED[0], padded)[None].numpy().astype('u1'), *padded)
    samples = [
        DetDataSample(metainfo=meta, gt_instances=given),
        DetDataSample(metainfo=meta, gt_instances=given[:0]),
    ]
    with torch.autocast('cpu', torch.bfloat16):
        number = old.label_objects(torch.zeros(2, 3, *padded), samples, threshold=0.5)
    assert number == 3 + 4
    assert old.model.logits.dtype == torch.float32  # no box is rounded to whole pixels
    for sample, own, told in zip(samples, [[LABELLED], []], [KEPT, [*KEPT, 5]], strict=True):
        found = [(INSIDE.get(index, FOUND[index][0]), FOUND[index][1]) for index in told]
        expected = own + found
        labels = sample.gt_instances
        order = [labels.bboxes.tolist().index([float(x) for x in box]) for box, _ in expected]
        assert sorted(order) == list(range(len(expected))) == list(range(len(labels)))
        assert labels.labels[order].tolist() == [label for _, label in expected]
        assert sample.metainfo == meta
        assert ('masks' in labels) == finds_masks  # of a model that finds none no loss needs any
        if finds_masks:
            drawn = np.stack([filled(box, padded).numpy() for box, _ in expected])
            assert (labels.masks.to_ndarray()[order] == drawn).all()
    # it predicts as after its task: rows of what had not come are masked
    assert (old.model.logits[0] < -1000).tolist() == [False, True, False, False]
    assert not any(parameter.requires_grad for parameter in old.model.parameters())
