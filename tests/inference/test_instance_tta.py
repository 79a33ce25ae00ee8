"""Views that count for boxes of some sizes alone, and scores after soft-NMS."""

from __future__ import annotations

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.structures import InstanceData

from vitadapter_dense.inference.instance_tta import InstanceTTAModel

SMALL, MEDIUM, LARGE = (
    [0.0, 0.0, 32.0, 32.0],
    [100.0, 0.0, 132.0, 33.0],
    [0.0, 200.0, 97.0, 297.0],
)


def merged(views: list[list], *, nms: str = 'nms', sizes: list[str] | None = None) -> InstanceData:
    """Of views, each a list of boxes with their scores."""
    from mmdet.models.detectors.base import BaseDetector
    from mmdet.structures import DetDataSample

    class Nothing(BaseDetector):
        loss = predict = _forward = extract_feat = None

    samples = []
    for found in views:
        sample = DetDataSample(metainfo=dict(ori_shape=(400, 400), turned=None))
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor([box for box, _ in found]).reshape(-1, 4),
            scores=torch.tensor([score for _, score in found]),
            labels=torch.zeros(len(found), dtype=torch.long),
        )
        samples.append(sample)
    cfg = dict(nms=dict(type=nms, iou_threshold=0.5), max_per_img=10, box_sizes=sizes)
    (result,) = InstanceTTAModel(tta_cfg=cfg, module=Nothing()).merge_preds([samples])
    return result.pred_instances


def test_each_scale_gives_boxes_of_its_sizes():
    all_three = [(SMALL, 0.9), (MEDIUM, 0.8), (LARGE, 0.7)]
    views = [all_three] * 4  # two scales, each in two views
    assert merged(views).bboxes.tolist() == [SMALL, MEDIUM, LARGE]
    assert merged(views, sizes=['l', 'sm']).bboxes.tolist() == [SMALL, MEDIUM, LARGE]
    assert merged(views, sizes=['l', 'm']).bboxes.tolist() == [MEDIUM, LARGE]
    later = [all_three] * 2 + [[(SMALL, 0.95)]] * 2
    assert merged(later, sizes=['ml', 's']).scores.tolist() == pytest.approx([0.95, 0.8, 0.7])
    assert len(merged([[], []], sizes=['s', 'l'])) == 0


def test_soft_nms_lowers_scores():
    shifted = [2.0, 0.0, 34.0, 32.0]
    found = merged([[(SMALL, 0.9)], [(shifted, 0.8)]], nms='soft_nms')
    overlap = 30 / 34
    assert found.scores.tolist() == pytest.approx([0.9, 0.8 * (1 - overlap)], abs=1e-3)


@pytest.mark.parametrize('sizes', [['s', 'x'], ['', 'l'], ['s', 'm', 'l']])
def test_sizes_that_fit_nothing_are_refused(sizes):
    with pytest.raises(ValueError, match='box_sizes'):
        merged([[(SMALL, 0.9)], [(SMALL, 0.9)]], sizes=sizes)
