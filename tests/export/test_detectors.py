"""The graph of a detector against MMDetection's own way through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

pytest.importorskip('mmdet')

from vitadapter_cli import load_config
from vitadapter_dense.export.detectors import RCNNGraph, regions, suppressed
from vitadapter_dense.export.verification import check_detector


def small_detector(name: str):
    """A detector of the configurations with a toy backbone, narrow heads and wild weights."""
    torch.manual_seed(0)
    cfg = load_config(f'coco/{name}_vitadapter_s')
    init_default_scope('mmdet')
    model = cfg.model
    model.backbone.encoder.update(
        pretrained=False, embed_dim=32, depth=2, num_heads=2, window_sizes=[2, None], with_cp=False
    )
    model.backbone.update(
        interaction_indexes=[[0, 1]], deform_num_heads=2, conv_inplane=8, use_extra_extractor=False
    )
    model.neck.update(in_channels=[32] * 4, out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    roi_head = model.roi_head
    for part in ('bbox_head', 'mask_head', 'bbox_roi_extractor', 'mask_roi_extractor'):
        for config in roi_head[part] if isinstance(roi_head[part], list) else [roi_head[part]]:
            if 'roi_extractor' in part:
                config.out_channels = 16
                config.finest_scale = 8  # boxes of small images go to every map
                continue
            config.update(in_channels=16, num_classes=5, conv_out_channels=16)
            if part == 'bbox_head':
                config.update(fc_out_channels=32)
                if config.type.startswith('Shared2'):
                    del config['conv_out_channels']
    model.test_cfg.rpn.update(nms_pre=60, max_per_img=40)
    model.test_cfg.rcnn.update(max_per_img=30, score_thr=0.25)
    built = MODELS.build(model).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            scale = 0.5 if 'fc_cls' in name else 0.02
            parameter.add_(torch.randn_like(parameter) * scale)
    return built


@pytest.mark.parametrize('name', ['mask_rcnn', 'cascade_mask_rcnn', 'htc'])
def test_it_finds_what_mmdetection_finds(name):
    model = small_detector(name)
    graph = RCNNGraph(model).eval()

    def run(inputs):
        return [t.numpy() for t in graph(*map(torch.from_numpy, inputs.values()))]

    with torch.no_grad():
        checks = list(check_detector(run, model, torch.randn(1, 3, 96, 128), (90, 101), 1e-4))
        assert [check.name for check in checks] == ['boxes', 'scores', 'masks']
        assert all(check.passed and 'of 0 pairs' not in check.unit for check in checks), checks
        wrong = check_detector(
            lambda inputs: [run(inputs)[0] + 0.7, *run(inputs)[1:]],
            model,
            torch.randn(1, 3, 96, 128),
            (90, 101),
            1e-4,
        )
        assert not next(iter(wrong)).passed


def test_what_it_does_not_know_is_named():
    model = small_detector('mask_rcnn')
    model.roi_head.test_cfg.nms = type(model.roi_head.test_cfg.nms)(type='soft_nms')
    with pytest.raises(ValueError, match=r"rcnn\.nms\.type='soft_nms' cannot be exported"):
        RCNNGraph(model)


def test_suppression_of_groups():
    boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9], [1, 1, 9, 9], [5, 5, 5, 5.0]])
    scores = torch.tensor([0.9, 0.8, 0.7, -1.0, 0.2])
    found = suppressed(boxes, scores, torch.tensor([0, 0, 1, 0, 1]), 0.5)
    np.testing.assert_allclose(found, [0.9, -1, 0.7, -1, 0.2])


def test_every_region_comes_from_the_map_of_its_size():
    extractor = small_detector('mask_rcnn').roi_head.bbox_roi_extractor
    maps = [torch.randn(1, 16, 96 // s, 96 // s) for s in (4, 8, 16, 32)]
    boxes = torch.tensor([[0, 0, 9, 9], [3, 5, 40, 39], [0, 0, 95, 95], [0, 0, 0, 0.0]])
    expected = extractor(maps, torch.cat([torch.zeros(4, 1), boxes], dim=1))
    torch.testing.assert_close(regions(extractor, maps, boxes), expected)
