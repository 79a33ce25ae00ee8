"""The segmentation configs are what ViT-Adapter released, and their models do what they should.

Hyper-parameters: ViT-Adapter, segmentation/configs/**; layer decay:
segmentation/mmcv_custom/layer_decay_optimizer_constructor.py.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs mmcv')

from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from small_segmentors import batch, small_segmentor

# name: lr, weight decay, layer decay, number of layers, mixed precision
OPTIMISERS = {
    'upernet_vitadapter_t': (1.2e-4, 0.01, 0.95, 12, True),
    'upernet_vitadapter_t_augreg': (1.2e-4, 0.01, 0.95, 12, True),
    'upernet_vitadapter_s': (6e-5, 0.01, 0.95, 12, True),
    'upernet_vitadapter_b': (6e-5, 0.01, 0.95, 12, True),
    'upernet_vitadapter_l': (2e-5, 0.05, 0.95, 24, False),
    'mask2former_vitadapter_b': (3e-5, 0.05, 0.95, 12, False),
    'mask2former_vitadapter_l': (2e-5, 0.05, 0.90, 24, False),
}
# file: crop, stride, classes, iterations, images a GPU
DATA = {
    'ade20k/upernet_vitadapter_s': (512, 341, 150, 160000, 2),
    'ade20k/mask2former_vitadapter_l': (640, 426, 150, 160000, 2),
    'cityscapes/mask2former_vitadapter_l': (896, 512, 19, 80000, 1),
    'coco_stuff10k/upernet_vitadapter_l': (512, 341, 171, 80000, 2),
    'coco_stuff10k/mask2former_vitadapter_b': (512, 341, 171, 40000, 2),
    'coco_stuff10k/mask2former_vitadapter_l': (512, 341, 171, 40000, 2),
    'coco_stuff164k/upernet_vitadapter_l': (640, 426, 171, 80000, 2),
    'coco_stuff164k/mask2former_vitadapter_l': (896, 512, 171, 80000, 1),
    'pascal_context/upernet_vitadapter_l': (480, 320, 59, 80000, 2),
    'pascal_context/mask2former_vitadapter_b': (480, 320, 59, 40000, 2),
    'pascal_context/mask2former_vitadapter_l': (480, 320, 59, 40000, 2),
    'potsdam/mask2former_vitadapter_l': (512, 341, 6, 80000, 1),
}


OTHER_DATA = [name for name in DATA if not name.startswith('ade20k')]
OPTIMISERS = {f'ade20k/{name}': values for name, values in OPTIMISERS.items()}
for name in OTHER_DATA:
    base = name.endswith('_b')
    OPTIMISERS[name] = (3e-5, 0.05, 0.95, 12, False) if base else (2e-5, 0.05, 0.90, 24, False)


@pytest.mark.parametrize('name', OPTIMISERS)
def test_optimiser(name, read_config):
    wrapper = read_config(f'{name}.py').optim_wrapper
    lr, decay, layer_decay, layers, mixed = OPTIMISERS[name]
    assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay) == (lr, decay)
    assert wrapper.constructor == 'LayerDecayOptimWrapperConstructor'
    assert wrapper.paramwise_cfg == dict(num_layers=layers, layer_decay_rate=layer_decay)
    assert wrapper.type == ('AutocastOptimWrapper' if mixed else 'OptimWrapper')


@pytest.mark.parametrize('name', DATA)
def test_heads_are_as_wide_as_the_originals(name, read_config):
    head = read_config(f'{name}.py').model.decode_head
    if head.type == 'UPerHead':
        assert head.channels == (512 if name.startswith('ade20k') else 1024)
        return
    wide = name.endswith('_l') and not name.startswith('potsdam')
    assert head.num_queries == (200 if name.startswith('coco_stuff164k') else 100)
    assert head.feat_channels == head.out_channels == (1024 if wide else 256)
    encoder, decoder = head.pixel_decoder.encoder, head.transformer_decoder
    assert (encoder.num_layers, decoder.num_layers) == (6, 9)
    layers = encoder.layer_cfg, decoder.layer_cfg
    channels = [layer.ffn_cfg.feedforward_channels for layer in layers]
    assert channels == ([4096] * 2 if wide else [2048 if 'potsdam' in name else 1024, 2048])
    assert {layer.self_attn_cfg.num_heads for layer in layers} == {32 if wide else 8}
    losses = (head.loss_cls, head.loss_mask, head.loss_dice)
    assert [loss.loss_weight for loss in losses] == [2.0, 5.0, 5.0]
    assert head.train_cfg.num_points == 12544


def test_augreg_base_trains_its_heads_faster(read_config):
    wrapper = read_config('ade20k/upernet_vitadapter_b_augreg.py').optim_wrapper
    assert set(wrapper.paramwise_cfg) == {'custom_keys'}
    assert wrapper.paramwise_cfg.custom_keys['head'] == dict(lr_mult=10.0)
    assert wrapper.optimizer.lr == 2e-5


@pytest.mark.parametrize('name', DATA)
def test_sizes_classes_and_length(name, read_config):
    cfg = read_config(f'{name}.py')
    crop, stride, classes, iterations, batch = DATA[name]
    assert cfg.model.test_cfg.crop_size == cfg.model.data_preprocessor.size == (crop, crop)
    assert cfg.model.test_cfg.stride == (stride, stride)
    assert cfg.crop_size == cfg.train_dataloader.dataset.pipeline[3].crop_size == (crop, crop)
    assert cfg.test_dataloader.dataset.data_root == cfg.data_root
    assert cfg.train_cfg.max_iters == iterations
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.model.decode_head.num_classes == classes
    if 'auxiliary_head' in cfg.model:
        assert cfg.model.auxiliary_head.num_classes == classes
    else:
        assert len(cfg.model.decode_head.loss_cls.class_weight) == classes + 1
    shorter = [step.scale for step in cfg.tta_pipeline[1].transforms[0]]
    assert min(shorter) == crop or crop == 896


@pytest.mark.parametrize('name', OTHER_DATA)
def test_published_weights_change_nothing_but_backbone_and_normalisation(name, read_config):
    """The configs with BEiT weights, as published, beside those with AugReg weights."""
    published, other = read_config(f'{name}_beit.py'), read_config(f'{name}.py')
    encoder, base = published.model.backbone.encoder, name.endswith('_b')
    assert encoder.model_name.startswith('beit_base_' if base else 'beit_large_')
    assert encoder.img_size == published.crop_size[0]
    assert encoder.drop_path_rate == (0.2 if base else 0.3)
    assert encoder.keep_prefix_tokens
    assert published.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    for cfg in (published, other):
        for key in ('encoder', 'injector_init'):
            cfg.model.backbone.pop(key, None)
        for key in ('mean', 'std'):
            cfg.model.data_preprocessor.pop(key)
    assert published._cfg_dict == other._cfg_dict


@pytest.mark.parametrize('name', DATA)
def test_number_of_classes_is_the_data_sets(name, read_config):
    from mmseg.registry import DATASETS

    cfg = read_config(f'{name}.py')
    registered = DATASETS.get(cfg.train_dataloader.dataset.type)
    assert len(registered.METAINFO['classes']) == cfg.model.decode_head.num_classes


def test_rate_follows_the_original_schedule(read_config):
    """Poly of power 1, times a factor that rises from 1e-6 to 1 over 1500 iterations."""
    cfg = read_config('ade20k/upernet_vitadapter_s.py')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=6e-5)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(part, optimizer=OptimWrapper(optimizer)))
        for part in cfg.param_scheduler
    ]
    rates = []
    for _ in range(2000):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    for step in (0, 1, 700, 1498, 1600, 1999):
        warm_up = 1 - (1 - min(step / 1499, 1)) * (1 - 1e-6)
        assert rates[step] == pytest.approx(6e-5 * (1 - step / 160000) * warm_up, rel=2e-3)


def test_layer_decay_groups_are_the_originals(build_model, read_config):
    """Every parameter's rate and decay, by the rules of the original written anew."""
    name = 'ade20k/upernet_vitadapter_s.py'
    model, cfg = build_model(name), read_config(name)
    init_default_scope('mmseg')
    wrapper = {key: value for key, value in cfg.optim_wrapper.items() if key != 'loss_scale'}
    optimizer = build_optim_wrapper(model, dict(wrapper, type='OptimWrapper')).optimizer
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    assert len(found) == len(names)
    for key, parameter in model.named_parameters():
        original = key.replace('backbone.encoder.', 'backbone.')
        if original.startswith(('backbone.pos_embed', 'backbone.patch_embed')):
            layer = 0
        elif original.startswith('backbone.blocks.'):
            layer = int(original.split('.')[2]) + 1
        else:
            layer = 13
        decay = 0.0 if parameter.ndim == 1 or key.endswith('.bias') else 0.01
        assert found[key] == pytest.approx((6e-5 * 0.95 ** (13 - layer), decay)), key
    assert found['backbone.encoder.pos_embed'][1] == 0.01


SEGMENTORS = ['upernet_vitadapter_s', 'upernet_vit_s', 'fcn_vitadapter_s']
SEGMENTORS += ['mask2former_vitadapter_b', 'pmt_s_dinov3_frozen', 'eomt_s_dinov3']


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentor_trains_and_predicts(name, read_config):
    model = small_segmentor(read_config(f'ade20k/{name}.py')).train()
    data = model.data_preprocessor(batch((64, 64)), training=True)
    with torch.autocast('cpu', torch.bfloat16, enabled=name == 'upernet_vitadapter_s'):
        total, _ = model.parse_losses(model(**data, mode='loss'))
    assert torch.isfinite(total)
    total.backward()
    assert all(
        torch.isfinite(value.grad).all() for value in model.parameters() if value.grad is not None
    )
    trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
    assert not [key for key, value in trained.items() if value.grad is None]

    model.eval()
    with torch.no_grad():
        (prediction,) = model.test_step(batch((80, 112), count=1))
    assert prediction.pred_sem_seg.data.shape == (1, 80, 112)
    assert prediction.seg_logits.data.shape == (5, 80, 112)


@pytest.mark.parametrize(
    'name', ['upernet_vitadapter_s', 'mask2former_vitadapter_b', 'eomt_s_dinov3']
)
def test_sliding_over_one_crop_is_the_whole_image(name, read_config):
    model = small_segmentor(read_config(f'ade20k/{name}.py')).eval()
    data = batch((64, 64), count=1)
    with torch.no_grad():
        sliding = model.test_step(data)[0].seg_logits.data
        model.test_cfg.mode = 'whole'
        whole = model.test_step(data)[0].seg_logits.data
    torch.testing.assert_close(sliding, whole)
    assert sliding.std() > 0
