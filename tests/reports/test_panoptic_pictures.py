"""Panoptic segments as they are drawn, told apart from a detector's, and sent as JSON."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmengine.visualization import Visualizer

from vitadapter_dense.inference.prediction import Prediction
from vitadapter_dense.reports.class_table import panoptic_table
from vitadapter_dense.reports.panoptic_pictures import (
    draw_panoptic,
    found_segments,
    has_segments,
    true_segments,
)
from vitadapter_dense.reports.panoptic_quality import Quality
from vitadapter_dense.reports.pictures import render_small

RED, BLUE = (250, 0, 0), (0, 0, 250)
META = dict(classes=('apple', 'sky'), stuff_classes=('sky',), palette=[RED, BLUE])
IMAGE = np.full((60, 80, 3), 100, np.uint8)


def sample() -> BaseDataElement:
    """Two apples that touch each other, sky below, nothing beside; the truth has one apple."""
    found = torch.full((1, 60, 80), 2)
    found[:, :30, :20], found[:, :30, 20:40], found[:, 30:, :40] = 1000, 2000, 1
    truth, masks = torch.full((1, 60, 80), 1), torch.zeros(1, 60, 80, dtype=torch.bool)
    masks[:, :30, :40] = True
    truth[masks], truth[:, :, 70:] = 0, 255
    element = BaseDataElement()
    element.pred_panoptic_seg = PixelData(sem_seg=found.int())
    element.gt_sem_seg = PixelData(sem_seg=truth)
    element.gt_instances = InstanceData(labels=torch.tensor([0]), masks=masks)
    return element


def test_segments_have_their_colour_and_an_outline() -> None:
    drawn = draw_panoptic(IMAGE, sample(), META, ground_truth=False, prediction=True)
    assert drawn.shape[0] > 60, 'a legend stands below'
    mixed = [[round(100 * 0.55 + value * 0.45) for value in colour] for colour in (RED, BLUE)]
    assert drawn[10, 10].tolist() == drawn[10, 30].tolist() == mixed[0]
    assert drawn[10, 19].tolist() == list(RED), 'two things of a class are told apart'
    assert drawn[50, 10].tolist() == mixed[1]
    assert drawn[10, 60].tolist() == [100, 100, 100]
    both = draw_panoptic(IMAGE, sample(), META, ground_truth=True, prediction=True)
    assert both.shape[1] == 2 * 80
    assert both[22 + 10, 19].tolist() == mixed[0], 'one apple in the truth'
    nothing = draw_panoptic(IMAGE, sample(), META, ground_truth=False, prediction=False)
    assert nothing is IMAGE


def test_truth_and_prediction_are_numbered_alike() -> None:
    assert np.unique(found_segments(sample())).tolist() == [1, 2, 1000, 2000]
    assert np.unique(true_segments(sample())).tolist() == [1, 255, 1000]


def test_a_detector_with_a_map_is_none() -> None:
    """HTC's ground truth has instances and a map of its own classes."""
    element = sample()
    assert has_segments(element, META)
    del element.pred_panoptic_seg
    assert has_segments(element, META)
    assert not has_segments(element, dict(classes=META['classes']))


def test_small_pictures_of_a_report_have_both_halves() -> None:
    visualizer = Visualizer()
    visualizer.dataset_meta = META
    drawn = render_small(visualizer, IMAGE, sample=sample(), score_thr=0.3, side=160)
    assert drawn.shape[1] == 2 * 160


def test_prediction_is_segments_and_one_entry_for_each() -> None:
    visualizer = Visualizer()
    visualizer.dataset_meta = META
    found = Prediction(IMAGE, sample(), META['classes'], visualizer)
    entries = found.to_json()
    assert sorted((e['category_name'], e['area']) for e in entries) == [
        ('apple', 600),
        ('apple', 600),
        ('sky', 1200),
    ]
    assert found.segments.shape == (60, 80)
    assert found.label_map is None
    assert found.plot()[10, 19].tolist() == list(RED)


def test_table_of_classes() -> None:
    table = panoptic_table(dict(apple=Quality(0.4, 0.8, 0.5, 1), sky=None))
    assert table.rows() == [('apple', ['40.0', '80.0', '50.0']), ('sky', ['-', '-', '-'])]
