"""Instances as they are drawn: one colour a class, the image behind, names beside their boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from vitadapter_dense.reports.instance_pictures import draw_detection, draw_instances

RED, BLUE = (250, 0, 0), (0, 0, 250)
META = dict(classes=('apple', 'sky'), palette=[RED, BLUE])
IMAGE = np.full((120, 200, 3), 100, np.uint8)


def instances(boxes, labels, scores=None, *, masks=True) -> InstanceData:
    found = InstanceData(bboxes=torch.tensor(boxes).float(), labels=torch.tensor(labels))
    if masks:
        grid = torch.zeros(len(boxes), 120, 200, dtype=torch.bool)
        for mask, (left, top, right, bottom) in zip(grid, boxes, strict=True):
            mask[top + 4 : bottom - 4, left + 4 : right - 4] = True
        found.masks = grid
    if scores is not None:
        found.scores = torch.tensor(scores)
    return found


def test_a_class_has_one_colour_and_the_image_is_seen_through_it():
    drawn = draw_instances(IMAGE, instances([[20, 40, 60, 80], [90, 40, 130, 80]], [0, 0]), META)
    mixed = [round(100 * 0.55 + value * 0.45) for value in RED]
    for x in (40, 110):
        assert drawn[60, x].tolist() == mixed
        assert drawn[60, x - 20].tolist() == list(RED)  # the box
        assert drawn[60, x - 16].tolist() == list(RED)  # the outline of the mask
    assert drawn[100, 180].tolist() == [100, 100, 100]
    assert (IMAGE == 100).all()


def test_low_scores_are_left_out_and_the_highest_lies_on_top():
    boxes = [[20, 40, 60, 80], [20, 40, 60, 80], [100, 40, 140, 80]]
    found = instances(boxes, [0, 1, 1], [0.9, 0.5, 0.1])
    drawn = draw_instances(IMAGE, found, META, score_thr=0.3)
    assert drawn[60, 120].tolist() == [100, 100, 100]
    assert drawn[60, 20].tolist() == list(RED)
    assert drawn[60, 40, 0] > drawn[60, 40, 2]
    assert np.array_equal(draw_instances(IMAGE, found, META, score_thr=1.1), IMAGE)


@pytest.mark.parametrize('box', [[0, 0, 9, 9], [190, 0, 199, 9], [60, 110, 69, 119]])
def test_a_name_hides_no_small_object_at_the_border(box):
    blank = draw_instances(IMAGE, instances([box], [1], masks=False), META)
    left, top, right, bottom = box
    inside = blank[top + 1 : bottom, left + 1 : right]
    assert (inside == 100).all()
    assert (blank == BLUE).all(-1).sum() > 300  # its name stands elsewhere


def test_names_do_not_hide_each_other():
    boxes = [[50, 50, 150, 100], [50, 50, 150, 100]]
    drawn = draw_instances(IMAGE, instances(boxes, [0, 1], [0.9, 0.8], masks=False), META)
    for colour in (RED, BLUE):
        assert (drawn == colour).all(-1).sum() > 500


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_truth_and_prediction_stand_side_by_side_with_titles(dtype):
    sample = BaseDataElement()
    sample.gt_instances = instances([[20, 40, 60, 80]], [0])
    sample.pred_instances = instances([[20, 40, 60, 80]], [1], [0.9])
    sample.pred_instances.scores = sample.pred_instances.scores.to(dtype)
    drawn = draw_detection(IMAGE, sample, META, score_thr=0.3)
    assert drawn.shape == (22 + 120, 400, 3)
    assert drawn[22 + 60, 20].tolist() == list(RED)
    assert drawn[22 + 60, 220].tolist() == list(BLUE)
    alone = draw_detection(IMAGE, sample, META, score_thr=0.3, ground_truth=False)
    assert np.array_equal(alone, drawn[22:, 200:])
    assert draw_detection(IMAGE, BaseDataElement(), META, score_thr=0.3) is IMAGE


def test_the_toolbox_s_own_boxes_and_masks_are_drawn():
    boxes = pytest.importorskip('mmdet.structures.bbox')
    masks = pytest.importorskip('mmdet.structures.mask')
    plain = instances([[20, 40, 60, 80]], [0])
    theirs = InstanceData(labels=plain.labels)
    theirs.bboxes = boxes.HorizontalBoxes(plain.bboxes)
    theirs.masks = masks.BitmapMasks(plain.masks.numpy().astype(np.uint8), 120, 200)
    assert np.array_equal(draw_instances(IMAGE, theirs, META), draw_instances(IMAGE, plain, META))
    none = InstanceData(labels=torch.zeros(0).long(), bboxes=torch.zeros(0, 4))
    assert np.array_equal(draw_instances(IMAGE, none, META), IMAGE)
