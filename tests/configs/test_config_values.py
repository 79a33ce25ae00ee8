"""The hyper-parameters are those that ViT-Adapter released (detection/configs/**)."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from vitadapter_dense.datasets.check_queries import find_other_levels

WWG = [14, 14, None] * 4
WWWWWG = [14, 14, 14, 14, 14, None] * 4
# size: timm name, drop path, deformable heads, ratio of the value's width, windows
PRESETS = {
    't': ('deit_tiny_patch16_224.fb_in1k', 0.1, 6, 1.0, WWG),
    's': ('deit_small_patch16_224.fb_in1k', 0.2, 6, 1.0, WWG),
    'b': ('deit_base_patch16_224.fb_in1k', 0.3, 12, 0.5, WWG),
    'l': ('vit_large_patch16_384.augreg_in21k_ft_in1k', 0.4, 16, 0.5, WWWWWG),
}
ADAPTERS = [
    *(f'mask_rcnn_vitadapter_{size}' for size in 'tsbl'),
    *(f'mask_rcnn_vitadapter_{size}_1x' for size in 'tsbl'),
    *(f'cascade_mask_rcnn_vitadapter_{size}' for size in 'sb'),
    'htc_vitadapter_s',
]
BASELINES = [f'mask_rcnn_vit_{size}' for size in 'tsb']


@pytest.mark.parametrize('name', ADAPTERS)
def test_backbone_preset(name, read_config):
    size = name.removesuffix('_1x')[-1]
    model = read_config(f'coco/{name}.py').model
    backbone, encoder = model.backbone, model.backbone.encoder
    values = (
        encoder.model_name,
        encoder.drop_path_rate,
        backbone.deform_num_heads,
        backbone.deform_ratio,
        encoder.window_sizes,
    )
    assert values == PRESETS[size]
    assert encoder.pretrained is True
    assert encoder.init_values == 1.0
    assert backbone.norm_cfg.type == 'BN'
    mean = [127.5] * 3 if size == 'l' else [123.675, 116.28, 103.53]
    assert model.data_preprocessor.mean == mean
    assert model.data_preprocessor.bgr_to_rgb
    assert model.data_preprocessor.pad_size_divisor == 32


@pytest.mark.parametrize('name', BASELINES)
def test_baseline_preset(name, read_config):
    size = name[-1]
    backbone = read_config(f'coco/{name}.py').model.backbone
    assert backbone.style == 'original'
    assert backbone.out_indices == [2, 5, 8, 11]
    assert backbone.encoder.model_name == PRESETS[size][0]
    assert backbone.encoder.drop_path_rate == 0.1
    assert backbone.encoder.window_sizes == WWG


@pytest.mark.parametrize('name', ADAPTERS + BASELINES)
def test_schedule_and_optimiser(name, read_config):
    cfg = read_config(f'coco/{name}.py')
    epochs, milestones = (12, [8, 11]) if name.endswith('_1x') else (36, [27, 33])
    warm_up, steps = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == steps.end == epochs
    assert steps.milestones == milestones
    assert (warm_up.start_factor, warm_up.end, warm_up.by_epoch) == (1e-3, 500, False)

    optimizer = cfg.optim_wrapper.optimizer
    expected = (2e-4, 0.01) if name == 'mask_rcnn_vitadapter_t_1x' else (1e-4, 0.05)
    assert optimizer.type == 'AdamW'
    assert (optimizer.lr, optimizer.weight_decay) == expected
    assert optimizer.betas == (0.9, 0.999)
    assert cfg.optim_wrapper.clip_grad is None
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size == 2

    paramwise = cfg.optim_wrapper.paramwise_cfg
    if '_l' in name.removesuffix('_1x')[-2:]:
        assert cfg.optim_wrapper.constructor == 'LayerDecayOptimWrapperConstructor'
        assert dict(paramwise) == dict(num_layers=24, layer_decay_rate=0.80)
    else:
        assert set(paramwise) == {'custom_keys'}
        assert set(paramwise.custom_keys) == {'level_embed', 'pos_embed', 'norm', 'bias'}
        assert all(key == dict(decay_mult=0.0) for key in paramwise.custom_keys.values())


@pytest.mark.parametrize('name', ADAPTERS + BASELINES)
def test_half_precision_is_for_cascade_alone(name, read_config):
    wrapper = read_config(f'coco/{name}.py').optim_wrapper
    if name.startswith('cascade'):
        assert wrapper.type == 'AutocastOptimWrapper'
        assert 'dtype' not in wrapper, 'float16 on a GPU is the default'
        assert wrapper.loss_scale.init_scale == 512
    else:
        assert wrapper.type == 'OptimWrapper'


def test_cascade_heads(read_config):
    heads = read_config('coco/cascade_mask_rcnn_vitadapter_s.py').model.roi_head.bbox_head
    assert len(heads) == 3
    for head, spread in zip(heads, (0.1, 0.05, 0.033)):
        assert (head.num_shared_convs, head.num_shared_fcs) == (4, 1)
        assert head.norm_cfg.type == 'BN'
        assert head.reg_decoded_bbox
        assert not head.reg_class_agnostic
        assert head.loss_bbox == dict(type='GIoULoss', loss_weight=10.0)
        assert head.bbox_coder.target_stds[0] == spread


def keeps_its_workers(cfg):
    for part in ('train', 'val', 'test'):
        loader = cfg.get(f'{part}_dataloader')
        if loader is None:
            continue
        assert bool(loader.get('persistent_workers')) == (loader.num_workers > 0), part
        assert 'pin_memory' not in loader, 'the runner knows whether there is a GPU'


def test_every_data_set_keeps_its_workers(configs_root):
    files = sorted((configs_root / '_base_' / 'datasets').glob('*.py'))
    assert len(files) > 40
    for file in files:
        keeps_its_workers(Config.fromfile(file))


def test_runtime(config, read_config):
    cfg = read_config(config)
    assert 'vitadapter_dense' in cfg.custom_imports.imports
    assert cfg.runner_type == 'DenseRunner'
    segments = cfg.model.type == 'EncoderDecoder'
    assert cfg.default_scope == ('mmseg' if segments else 'mmdet')
    assert cfg.sync_bn == 'torch'
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    best = 'mIoU' if segments else 'coco/bbox_mAP'
    if cfg.model.type == 'Mask2Former':
        best = 'coco_panoptic/PQ' if cfg.model.test_cfg.panoptic_on else 'coco/segm_mAP'
    assert cfg.default_hooks.checkpoint.save_best == best
    assert cfg.load_from is None
    assert cfg.resume is False
    assert find_other_levels(cfg.model) == []
    keeps_its_workers(cfg)
    assert 'presets' not in cfg, 'those of other sizes and tasks would go into work directories'
