"""The graph of a detector against MMDetection's own way through it."""

from __future__ import annotations

import json
import logging
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

pytest.importorskip('mmdet')

from vitadapter_cli import load_config
from vitadapter_dense.export import ExportError, export, load_package
from vitadapter_dense.export.detectors import RCNNGraph, regions, suppressed
from vitadapter_dense.export.graphs import graph_of
from vitadapter_dense.export.substitutes import traceable
from vitadapter_dense.export.verification import check_detector
from vitadapter_dense.inference.exported import objects_of_masks
from vitadapter_dense.inference.predictor import Predictor


def small_config(name: str):
    """Of a detector with a toy backbone and narrow heads."""
    cfg = load_config(f'coco/{name}_vitadapter_s')
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
    return cfg


def small_detector(name: str):
    torch.manual_seed(0)
    init_default_scope('mmdet')
    return wild(small_config(name).model)


def wild(config):
    """A model with weights that do something."""
    built = MODELS.build(config).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            scale = 0.5 if 'fc_cls' in name else 0.02
            parameter.add_(torch.randn_like(parameter) * scale)
    return built


def small_shapes(name: str):
    """One of the detectors on the generated shapes."""
    torch.manual_seed(0)
    init_default_scope('mmdet')
    if name != 'deformable_detr':
        return wild(load_config(f'shapes/{name}').model)
    model = load_config('shapes/dino_vitadapter_xs').model
    del model.dn_cfg
    model.bbox_head.type = 'DeformableDETRHead'
    built = wild(model | dict(type='DeformableDETR'))
    # MMDetection's own takes a width of 256 for granted
    own = partial(built.get_proposal_pos_embed, num_pos_feats=built.embed_dims // 2)
    built.get_proposal_pos_embed = own
    return built


def run_of(graph):
    def run(inputs):
        with traceable(graph):
            return [t.numpy() for t in graph(*map(torch.from_numpy, inputs.values()))]

    return run


@pytest.mark.parametrize('name', ['mask_rcnn', 'cascade_mask_rcnn', 'htc'])
def test_it_finds_what_mmdetection_finds(name):
    model = small_detector(name)
    graph = graph_of(model).eval()
    run = run_of(graph)
    with torch.no_grad():
        checks = list(
            check_detector(run, model, graph, torch.randn(1, 3, 96, 128), (90, 101), 1e-4)
        )
        assert [check.name for check in checks] == ['boxes', 'scores', 'masks']
        assert all(check.passed and 'of 0 pairs' not in check.unit for check in checks), checks
        wrong = check_detector(
            lambda inputs: [run(inputs)[0] + 0.7, *run(inputs)[1:]],
            model,
            graph,
            torch.randn(1, 3, 96, 128),
            (90, 101),
            1e-4,
        )
        assert not next(iter(wrong)).passed


@pytest.mark.parametrize(
    ('name', 'names'),
    [
        ('atss_vitadapter_xs', ['boxes', 'scores']),
        ('gfl_vitadapter_xs', ['boxes', 'scores']),
        ('dino_vitadapter_xs', ['boxes', 'scores']),
        ('deformable_detr', ['boxes', 'scores']),
        ('mask2former_vitadapter_xs_instance', ['boxes', 'scores', 'masks']),
        ('eomt_xs_instance', ['boxes', 'scores', 'masks']),
    ],
)
@pytest.mark.parametrize('size', [(90, 101), (96, 128)])
def test_other_kinds_find_it_too(name, names, size):
    """With padding and without."""
    model = small_shapes(name)
    graph = graph_of(model).eval()
    with torch.no_grad():
        run, images = run_of(graph), torch.randn(1, 3, 96, 128)
        checks = list(check_detector(run, model, graph, images, size, 1e-5))
    assert [check.name for check in checks] == names
    assert all(check.passed and 'of 0 pairs' not in check.unit for check in checks), checks


def test_masks_of_nothing_are_no_objects():
    logits = np.full((2, 4, 6), -1.0, np.float32)
    logits[1, 1:3, 2:5] = 3.0
    boxes, scores, masks = objects_of_masks(np.array([0.5, 0.5], np.float32), logits, (4, 6))
    np.testing.assert_array_equal(boxes, [[0, 0, 0, 0], [2, 1, 5, 3]])
    np.testing.assert_allclose(scores, [0, 0.5 / (1 + np.exp(-3))], rtol=1e-5)
    assert masks.sum(axis=(1, 2)).tolist() == [0, 6]


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('sparse_rcnn_vitadapter_xs', "roi_head='SparseRoIHead' cannot be exported"),
        ('eomt_xs_panoptic', 'panoptic_on=True cannot be exported'),
        ('htc_pp_vitadapter_xs', r'cannot be exported: the graph knows'),
    ],
)
def test_a_detector_without_a_graph_is_named(name, said):
    with pytest.raises(ValueError, match=said):
        graph_of(small_shapes(name))


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


@pytest.mark.slow
def test_a_package_that_is_written_and_loaded(tmp_path, monkeypatch):
    """Tried beside the model; it keeps the operators, and whoever loads it is told to have them."""
    monkeypatch.setattr(logging.getLogger('torch.__trace'), 'propagate', False)
    torch.save(dict(state_dict=small_detector('htc').state_dict()), tmp_path / 'weights.pth')
    predictor = Predictor(small_config('htc'), tmp_path / 'weights.pth', device='cpu')
    out = tmp_path / 'model.pt2'
    checks = export(
        predictor,
        out,
        kind='pt2',
        size=(96, 128),
        checkpoint=tmp_path / 'weights.pth',
        images=[np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)],
    )
    assert [check.name for check in checks] == ['prepared image', 'boxes', 'scores', 'masks']
    about = json.loads((tmp_path / 'model.pt2.json').read_text())
    assert about['needs'] == ['msda', 'torchvision']
    nodes = torch.export.load(out).graph.nodes
    assert any('ms_deform_attn_fused' in str(node.target) for node in nodes)
    images = torch.randn(1, 3, 96, 128)
    inputs = [images, torch.tensor([96.0, 128.0])]
    with torch.no_grad():
        expected = graph_of(predictor.model)
        with traceable(expected):
            expected = expected(*inputs)
    for one, other in zip(load_package(out)(*inputs), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    out.write_bytes(b'another')
    with pytest.raises(ExportError, match='describes another model'):
        load_package(out)
