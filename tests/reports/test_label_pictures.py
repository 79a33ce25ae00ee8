"""Pictures of label maps show every class and leave what is ignored; the matrix counts pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement, PixelData

from vitadapter_dense.inference.predictor import dataset_meta
from vitadapter_dense.reports.confusion_matrix import PixelConfusionMatrix
from vitadapter_dense.reports.label_pictures import draw_label_map, draw_legend, draw_segmentation

PALETTE = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
META = dict(classes=('red', 'green', 'blue'), palette=PALETTE)


def test_overlay_is_a_mixture_with_outlines_and_ignored_pixels_stay() -> None:
    image = np.full((6, 6, 3), 100, np.uint8)
    labels = np.kron([[0, 1], [255, 2]], np.ones((3, 3), int))
    drawn = draw_label_map(image, labels, PALETTE, alpha=0.6)
    assert drawn[0, 0].tolist() == [190, 40, 40]
    assert drawn[0, 2].tolist() == drawn[2, 0].tolist() == [250, 0, 0]
    assert drawn[0, 3].tolist() == [40, 190, 40]
    assert (drawn[3:, :3] == 100).all()
    with pytest.raises(ValueError, match=r'shape \(1, 2\)'):
        draw_label_map(image, np.zeros((1, 2)), PALETTE)


def test_legend_wraps_and_shows_each_colour() -> None:
    shares = {2: 0.5, 0: 0.3, 1: 0.2}
    wide = draw_legend(shares, META['classes'], PALETTE, width=600)
    narrow = draw_legend(shares, META['classes'], PALETTE, width=110)
    assert wide.shape == (22, 600, 3)
    assert narrow.shape == (66, 110, 3)
    for row, number in enumerate(shares):
        line = narrow[22 * row : 22 * row + 22].reshape(-1, 3)
        assert (line == PALETTE[number]).all(axis=1).sum() > 100
    assert draw_legend({}, META['classes'], PALETTE, width=50).shape == (0, 50, 3)


def test_truth_stands_on_the_left_and_the_legend_below() -> None:
    from mmseg.structures import SegDataSample

    sample = SegDataSample()
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 8, 40, dtype=torch.long))
    sample.pred_sem_seg = PixelData(data=torch.ones(1, 8, 40, dtype=torch.long))
    image = np.zeros((8, 40, 3), np.uint8)
    drawn = draw_segmentation(image, sample, META, ground_truth=True, prediction=True)
    assert drawn.shape[1] > 80  # the legend is wider than two images
    titles, maps, legend = np.split(drawn, [22, 30])
    assert (titles[:, :80] < 100).any()
    assert (titles[:, 80:] == 255).all()
    assert (maps[:, 80:] == 255).all()
    assert len(legend) > 0
    assert (maps[:, :40, 0] == round(250 * 0.45)).all()
    assert (maps[:, 40:80, 1] == round(250 * 0.45)).all()
    assert (legend[:, -8:] == 255).all()  # no entry is cut off
    alone = draw_segmentation(image, sample, META, ground_truth=False, prediction=False)
    assert alone is image


def test_one_channel_and_too_few_colours_are_drawn() -> None:
    """A sigmoid gives floating-point classes; colours, or the maps, may be fewer than classes."""
    sample = BaseDataElement()
    sample.pred_sem_seg = PixelData(data=torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]))
    image = np.full((2, 2, 3), 100, np.uint8)
    asked = dict(ground_truth=True, prediction=True)
    own = [(250, 0, 0), (0, 250, 0)]
    drawn = draw_segmentation(image, sample, dict(classes=('a', 'b'), palette=own), **asked)
    assert drawn[0, :2].tolist() == [[250, 0, 0], [55, 168, 55]]
    for palette in (None, 'random', own[:1], []):
        drawn = draw_segmentation(image, sample, dict(classes=('a', 'b'), palette=palette), **asked)
        assert (drawn[0, 0] != drawn[0, 1]).any()
        assert drawn.shape[0] == 2 + 2 * 22
    one = draw_segmentation(image, sample, dict(classes=('a',), palette=own[:1]), **asked)
    assert one[0, :2].tolist() == [[250, 0, 0], [100, 100, 100]]
    sample.gt_sem_seg = PixelData(data=torch.full((1, 2, 2), 299))
    many = draw_segmentation(image, sample, dict(classes=tuple(map(str, range(300)))), **asked)
    assert many.shape[0] == 22 + 2 + 3 * 22


def test_classes_without_colours_get_some() -> None:
    """A checkpoint of another program names no palette, and the config need not."""
    pytest.importorskip('mmseg')
    dataset = dict(type='mmseg.BaseSegDataset', metainfo=dict(classes=('a', 'b')))
    palette = dataset_meta({}, dataset)['palette']
    assert len(set(palette)) == 2
    assert dataset_meta({}, dataset)['palette'] == palette
    assert dataset_meta({}, dict(type='mmseg.BaseSegDataset'), number=2)['classes'] == ('0', '1')
    stored = dict(meta=dict(dataset_meta=dict(CLASSES=('a', 'b'), PALETTE=PALETTE[:2])))
    assert dataset_meta(stored, dataset)['palette'] == PALETTE[:2]
    with DefaultScope.overwrite_default_scope('mmseg'):  # the bare name of the toolbox in use
        assert dataset_meta({}, dict(type='ADE20KDataset'))['classes'][0] == 'wall'


def test_matrix_counts_what_iou_metric_counts() -> None:
    from mmseg.evaluation import IoUMetric

    generator = torch.Generator().manual_seed(0)
    ours, theirs = PixelConfusionMatrix(), IoUMetric(iou_metrics=['mIoU'])
    counted = np.zeros((4, 4), int)
    for metric in (ours, theirs):
        metric.dataset_meta = dict(classes=('a', 'b', 'c', 'absent'))
    for _ in range(3):
        truth, found = torch.randint(0, 3, (2, 1, 9, 11), generator=generator)
        truth[0, 0, :5] = 255
        for true, guess in zip(truth.flatten().tolist(), found.flatten().tolist(), strict=True):
            if true != 255:
                counted[true, guess] += 1
        sample = dict(gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=found))
        for metric in (ours, theirs):
            metric.process({}, [sample])
    expected = theirs.evaluate(3)
    assert ours.evaluate(3) == pytest.approx(expected, abs=0.01)  # theirs are rounded
    assert ours.matrix.tolist() == counted.tolist()
