"""Enlarging for drawing: what is drawn on a small image keeps its place."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData

from vitadapter_dense.reports.enlarging import drawing_factor, enlarge


def test_instances_and_maps_keep_their_place() -> None:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks, PolygonMasks

    height, width, factor = 12, 20, 3
    image = np.zeros((height, width, 3), np.uint8)
    image[3:9, 4:14] = 255
    masks = torch.zeros(1, height, width, dtype=torch.bool)
    masks[0, 3:9, 4:14] = True
    boxes = torch.tensor([[4.0, 3.0, 14.0, 9.0]])
    corners = [np.array([4.0, 3.0, 14.0, 3.0, 14.0, 9.0, 4.0, 9.0])]
    sample = DetDataSample(metainfo=dict(img_path='x.jpg'))
    sample.pred_instances = InstanceData(
        bboxes=boxes, masks=masks, labels=torch.tensor([1]), scores=torch.tensor([0.5])
    )
    sample.gt_instances = InstanceData(masks=BitmapMasks(masks.numpy().astype(np.uint8), 12, 20))
    sample.ignored_instances = InstanceData(masks=PolygonMasks([corners], height, width))
    sample.gt_sem_seg = PixelData(sem_seg=masks.long() * 7)
    large, grown = enlarge(image, sample, factor=factor)

    bright = torch.zeros(36, 60, dtype=torch.bool)
    bright[9:27, 12:42] = True
    assert large.shape == (36, 60, 3)
    # interpolation rounds the four corners
    assert (torch.from_numpy(large[..., 0] > 127) != bright).sum() <= 4
    assert grown.img_path == 'x.jpg'
    assert torch.equal(grown.pred_instances.masks[0], bright)
    assert torch.equal(grown.gt_sem_seg.sem_seg[0], bright * 7)
    for instances in (grown.gt_instances, grown.ignored_instances):
        drawn = torch.from_numpy(instances.masks.to_ndarray()[0].astype(bool))
        assert (drawn != bright).float().mean() < 0.02  # a polygon has no sharp edge
    assert grown.pred_instances.bboxes.tolist() == [[12, 9, 42, 27]]
    assert grown.pred_instances.scores.tolist() == [0.5]
    assert sample.pred_instances.bboxes.tolist() == boxes.tolist() == [[4, 3, 14, 9]]


def test_large_images_stay_as_they_are() -> None:
    assert [drawing_factor((side, 100)) for side in (64, 192, 321, 640, 2000)] == [6, 3, 1, 1, 1]
