"""The segmentation configs are what ViT-Adapter released, and their models do what they should.

Hyper-parameters: ViT-Adapter, segmentation/configs/**; layer decay:
segmentation/mmcv_custom/layer_decay_optimizer_constructor.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs the compiled ops of mmcv')

from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope

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


@pytest.mark.parametrize('name', OPTIMISERS)
def test_optimiser(name, read_config):
    wrapper = read_config(f'ade20k/{name}.py').optim_wrapper
    lr, decay, layer_decay, layers, mixed = OPTIMISERS[name]
    assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay) == (lr, decay)
    assert wrapper.constructor == 'LayerDecayOptimWrapperConstructor'
    assert wrapper.paramwise_cfg == dict(num_layers=layers, layer_decay_rate=layer_decay)
    assert wrapper.type == ('AutocastOptimWrapper' if mixed else 'OptimWrapper')


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


def test_original_figures_through_the_config(read_config):
    """The original's outputs and gradients, from the config's own backbone at the case's size."""
    with np.load(Path(__file__).parents[1] / 'data' / 'seg_vit.npz') as archive:
        case = {key: torch.from_numpy(archive[key]) for key in archive.files if key != 'cfg'}
        sizes = json.loads(str(archive['cfg']))
    backbone = read_config('ade20k/upernet_vitadapter_s.py').model.backbone
    backbone.encoder.update(
        model_name='vit_tiny_patch16_224',
        pretrained=False,
        img_size=sizes['pretrain_size'],
        init_values=1.0 if sizes['layer_scale'] else None,
        **{key: sizes[key] for key in ('embed_dim', 'depth', 'num_heads')},
    )
    small = ('interaction_indexes', 'conv_inplane', 'deform_num_heads', 'deform_ratio')
    backbone.update({key: sizes[key] for key in small})
    model = MODELS.build(backbone).eval()
    model.load_state_dict(
        {key.removeprefix('sd/'): value for key, value in case.items() if key.startswith('sd/')}
    )
    images = case['input'].requires_grad_()
    outputs = model(images)
    for index, output in enumerate(outputs):
        torch.testing.assert_close(output, case[f'out{index}'], rtol=1e-4, atol=1e-5)
    sum((output**2).mean() for output in outputs).backward()
    error = (images.grad - case['grad_input']).norm() / case['grad_input'].norm()
    assert error < 1e-4


def small_segmentor(cfg, size=64):
    """The configuration's segmentor with a toy backbone and narrow heads, of 5 classes."""
    init_default_scope(cfg.default_scope)
    model = cfg.model
    model.backbone.encoder.update(
        pretrained=False, embed_dim=96, depth=4, num_heads=3, drop_path_rate=0.0, with_cp=False
    )
    if model.backbone.type == 'SimplePyramid':
        model.backbone.out_indices = [0, 1, 2, 3]
    model.data_preprocessor.size = (size, size)
    model.test_cfg.update(crop_size=(size, size), stride=(size * 2 // 3,) * 2)
    head = model.decode_head
    head.update(in_channels=[96] * 4, num_classes=5)
    if head.type == 'Mask2FormerHead':
        head.loss_cls.class_weight = [1.0] * 5 + [0.1]
        head.num_queries = 8
        head.train_cfg.num_points = 64
        head.transformer_decoder.num_layers = 3
    else:
        head.channels = 16
        model.auxiliary_head.update(in_channels=96, channels=16, num_classes=5)
    return MODELS.build(model)


def batch(size, count=2, seed=0):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(seed)
    height, width = size
    samples, images = [], []
    for _ in range(count):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, img_path='a.jpg'))
        labels = torch.randint(0, 5, (1, height, width), generator=generator)
        labels[:, :4] = 255
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
        images.append(
            torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        )
    return dict(inputs=images, data_samples=samples)


SEGMENTORS = ['upernet_vitadapter_s', 'upernet_vit_s', 'fcn_vitadapter_s']
SEGMENTORS += ['mask2former_vitadapter_b']


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
    without = [key for key, value in model.named_parameters() if value.grad is None]
    assert not without

    model.eval()
    with torch.no_grad():
        (prediction,) = model.test_step(batch((80, 112), count=1))
    assert prediction.pred_sem_seg.data.shape == (1, 80, 112)
    assert prediction.seg_logits.data.shape == (5, 80, 112)


@pytest.mark.parametrize('name', ['upernet_vitadapter_s', 'mask2former_vitadapter_b'])
def test_sliding_over_one_crop_is_the_whole_image(name, read_config):
    model = small_segmentor(read_config(f'ade20k/{name}.py')).eval()
    data = batch((64, 64), count=1)
    with torch.no_grad():
        sliding = model.test_step(data)[0].seg_logits.data
        model.test_cfg.mode = 'whole'
        whole = model.test_step(data)[0].seg_logits.data
    torch.testing.assert_close(sliding, whole)
    assert sliding.std() > 0


def test_one_view_of_test_time_augmentation_is_none(read_config):
    cfg = read_config('ade20k/upernet_vitadapter_s.py')
    model = small_segmentor(cfg).eval()
    tta = MODELS.build(dict(cfg.tta_model, module=model)).eval()
    data = batch((80, 112), count=1)
    views = dict(inputs=[data['inputs']], data_samples=[data['data_samples']])
    with torch.no_grad():
        (expected,) = model.test_step(batch((80, 112), count=1))
        (found,) = tta.test_step(views)
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
