"""Every detector of the configurations trains and predicts, with a small backbone."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs mmcv')

from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from vitadapter_dense.training.float32_predictions import keep_predictions_float32

SIZE = 64
WIDTH = 96
NAMES = ['mask_rcnn_vitadapter_s', 'mask_rcnn_vit_s', 'cascade_mask_rcnn_vitadapter_s']
NAMES += ['htc_vitadapter_s', 'mask_rcnn_liteadapter_s_dinov3_frozen']
NAMES += ['mask_rcnn_vitadapter_s_no_fpn', 'htc_pp_vitadapter_l_beitv2_o365']
ABLATION = ['mask_rcnn_vitprior_s_inject_1x', 'mask_rcnn_vitadapter_s_cswin_1x']
CONFIGS = [f'coco/{name}' for name in NAMES] + [f'coco_ablation/{name}' for name in ABLATION]
CONFIGS += ['shapes/htc_pp_vitadapter_xs']
BOXES = ['atss_vitadapter_s', 'gfl_vitadapter_s', 'sparse_rcnn_vitadapter_s']
BOXES += ['dino_vitadapter_s', 'dino_vitadapter_s_5scale', 'deformable_detr_vitadapter_s']
SHAPES = ['atss', 'gfl', 'sparse_rcnn', 'dino']
BOX_CONFIGS = [f'coco/{name}' for name in BOXES]
BOX_CONFIGS += [f'shapes/{name}_vitadapter_xs' for name in SHAPES]
QUERIES = 6


def with_small_backbone(cfg):
    """The configuration's model on a toy backbone."""
    init_default_scope(cfg.default_scope)
    model = cfg.model
    model.backbone.encoder.update(
        pretrained=False, embed_dim=WIDTH, depth=4, num_heads=3, window_sizes=[4, None] * 2
    )
    if 'out_indices' in model.backbone:
        model.backbone.out_indices = [0, 1, 2, 3][-len(model.backbone.out_indices) :]
    for neck in model.neck if isinstance(model.neck, list) else [model.neck]:
        neck.in_channels = [WIDTH] * 4
    return model


def small_detector(cfg):
    """The configuration's detector with a toy backbone and few proposals."""
    model = with_small_backbone(cfg)
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        head.fc_out_channels = 64
    model.train_cfg.rpn_proposal.max_per_img = 24
    stages = model.train_cfg.rcnn
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 8
    model.test_cfg.rpn.max_per_img = 8
    model.test_cfg.rcnn.score_thr = 0.0
    model.test_cfg.rcnn.max_per_img = 4
    return MODELS.build(model)


def small_box_detector(cfg):
    """The same for detectors of one stage, and for those of queries."""
    model = with_small_backbone(cfg)
    if model.type == 'SparseRCNN':
        model.rpn_head.num_proposals = QUERIES
        model.test_cfg.rcnn.max_per_img = 4
        model.roi_head.num_stages = 2
        for stages in (model.roi_head.stage_loss_weights, model.roi_head.bbox_head):
            del stages[2:]
        del model.train_cfg.rcnn[2:]
        for head in model.roi_head.bbox_head:
            head.feedforward_channels = 32
        return MODELS.build(model)
    model.test_cfg.max_per_img = 4
    if 'num_queries' in model:
        model.num_queries = QUERIES
        for part in (model.encoder, model.decoder):
            part.num_layers = 1
            part.layer_cfg.ffn_cfg.feedforward_channels = 32
    else:
        model.test_cfg.score_thr = 0.0
    built = MODELS.build(model)
    built.init_weights()  # before, DETRs have the embedding of their levels as the memory was
    return built


def batch(count=2):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import PixelData

    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[0, 16:48, 24:56] = 1
    samples = []
    for _ in range(count):
        shape = (SIZE, SIZE)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[24.0, 16.0, 56.0, 48.0]]),
            labels=torch.tensor([2]),
            masks=BitmapMasks(mask, SIZE, SIZE),
        )
        sample.gt_sem_seg = PixelData(sem_seg=torch.randint(0, 6, (1, SIZE, SIZE)))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8) for _ in range(count)]
    return dict(inputs=images, data_samples=samples)


@pytest.mark.parametrize('name', CONFIGS)
def test_detector_trains_and_predicts(name, read_config):
    model = small_detector(read_config(f'{name}.py')).train()
    data = model.data_preprocessor(batch(), training=True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    trained = [(key, value) for key, value in model.named_parameters() if value.requires_grad]
    without = [key for key, value in trained if value.grad is None]
    assert not without

    model.eval()
    with torch.no_grad():
        (prediction,) = model.test_step(batch(1))
    instances = prediction.pred_instances
    assert 0 < len(instances) <= 4
    assert instances.masks.shape == (len(instances), SIZE, SIZE)
    assert (instances.bboxes >= 0).all()
    assert (instances.bboxes <= SIZE).all()


def test_cascades_take_flipped_views(read_config):
    """MMDetection's turn a flipped sample's masks round themselves, and fail."""
    from vitadapter_dense.inference import InstanceTTAModel

    model = small_detector(read_config('shapes/htc_pp_vitadapter_xs.py'))
    tta_cfg = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=4)
    views = [batch(1), batch(1)]
    views[1]['inputs'] = [image.flip(-1) for image in views[0]['inputs']]
    views[1]['data_samples'][0].set_metainfo(dict(flip=True, flip_direction='horizontal'))
    data = {key: [view[key] for view in views] for key in views[0]}
    tta = InstanceTTAModel(tta_cfg=tta_cfg, module=model).eval()
    with torch.no_grad():
        alone = model.test_step(batch(1) | dict(inputs=views[1]['inputs']))[0].pred_instances
        (both,) = tta.test_step(data)
        views[1]['data_samples'][0].set_metainfo(dict(flip=True, flip_direction='horizontal'))
        (turned,) = tta.test_step({key: [value] for key, value in views[1].items()})
    assert 0 < len(both.pred_instances) <= 4
    torch.testing.assert_close(turned.pred_instances.masks, alone.masks.flip(-1))


@pytest.mark.parametrize('name', BOX_CONFIGS)
def test_box_detector_trains_and_predicts(name, read_config, monkeypatch):
    cfg = read_config(f'{name}.py')
    model = small_box_detector(cfg).train()
    calls = count_attention(monkeypatch)
    model.init_weights()
    data = model.data_preprocessor(batch(), training=True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    assert torch.isfinite(total)
    total.backward()
    without = [key for key, value in model.named_parameters() if value.grad is None]
    finest = r'backbone\.(norm1|up|spm\.fc1)\.'  # what makes the map at stride 4
    idle = [key for key in without if not re.match(finest, key)]
    assert not idle
    assert bool(without) == cfg.get('find_unused_parameters', False)
    detr = 'num_queries' in cfg.model
    assert calls == ([cfg.num_levels] * 2 if detr else []), 'one layer each in encoder and decoder'

    data = batch(1)
    sample = data['data_samples'][0]
    sample.gt_instances = sample.gt_instances[:0]  # as random crops may leave it
    with torch.no_grad():
        losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    assert model.parse_losses(losses)[0] < total, 'of all boxes, wherever they are'

    model.eval()
    with torch.no_grad():
        (prediction,) = model.test_step(batch(1))
    instances = prediction.pred_instances
    assert 0 < len(instances) <= 4
    inside = (instances.bboxes >= 0).all() and (instances.bboxes <= SIZE).all()
    assert inside or 'sparse_rcnn' in name, 'which does not clip, as published'


def count_attention(monkeypatch) -> list[int]:
    """Levels of each call of mmcv's deformable attention that arrives at `msda`."""
    from mmcv_ops import attention

    calls, compute = [], attention.ms_deform_attn

    def record(value, shapes, *args):
        calls.append(len(shapes))
        return compute(value, shapes, *args)

    monkeypatch.setattr(attention, 'ms_deform_attn', record)
    return calls


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('name', ['dino_vitadapter_s', 'sparse_rcnn_vitadapter_s'])
def test_queries_are_matched_in_float32(name, dtype, read_config, monkeypatch):
    """With scores as sure as a trained detector's; without the casts they cost inf or too much."""
    from mmdet.models.task_modules.assigners.match_cost import FocalLossCost

    model = small_box_detector(read_config(f'coco/{name}.py')).train()
    sure = torch.linspace(-18, 9, 80)
    for key, value in model.named_parameters():
        if key.endswith(('cls_branches.0.bias', 'cls_branches.1.bias', 'fc_cls.bias')):
            value.data.copy_(sure)
    keep_predictions_float32(model)
    costs, compute = [], FocalLossCost.__call__

    def record(*args, **kwargs):
        costs.append(compute(*args, **kwargs))
        return costs[-1]

    # of the classes alone: what boxes cost is as large, and another for every random start
    monkeypatch.setattr(FocalLossCost, '__call__', record)
    data = model.data_preprocessor(batch(), training=True)
    for sample in data['data_samples']:
        sample.gt_instances.labels[:] = 79  # of which all are sure
    with torch.autocast('cpu', dtype):
        total, _ = model.parse_losses(model(**data, mode='loss'))
    assert torch.isfinite(total)
    assert len(costs) == 4, 'two layers, two images'
    assert all(cost.dtype == torch.float32 for cost in costs)
    # the sigmoid of 9 leaves 1.2e-4, which half precision cannot tell from nothing
    assert all(cost.min() > -25 and cost.max() < 0 for cost in costs), costs
