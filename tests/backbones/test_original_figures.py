"""The same numbers as the original code: outputs, gradients, names, parameter counts."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import original_figures
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from vitadapter_dense.backbones import SimplePyramid, ViTAdapter

CASES = ['det_vit_window', 'det_vit_layerscale', 'seg_vit', 'det_beit']


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('with_cp', [False, True])
def test_outputs_and_gradients(name, with_cp):
    case = original_figures.load(name)
    model = original_figures.build(case['cfg'], with_cp=with_cp)
    model.encoder.with_cp = with_cp
    original_figures.check(model, case)


CONFIGS = Path(__file__).parents[2] / 'configs'
SEGMENTORS = [f'upernet_vitadapter_{size}' for size in 'tsbl']


@pytest.mark.parametrize('name', [*SEGMENTORS, 'fcn_vitadapter_s', 'mask2former_vitadapter_b'])
def test_segmentation_configs_give_the_original_numbers(name):
    """What a config sets stays as it is; the sizes alone are the case's."""
    case = original_figures.load('seg_vit')
    backbone = Config.fromfile(CONFIGS / 'ade20k' / f'{name}.py').model.backbone
    sizes = original_figures.encoder_of(case['cfg'])
    keys = ('model_name', 'img_size', 'embed_dim', 'depth', 'num_heads', 'init_values')
    backbone.encoder.update({key: sizes[key] for key in keys})
    keys = ('interaction_indexes', 'conv_inplane', 'deform_num_heads', 'deform_ratio')
    backbone.update({key: case['cfg'][key] for key in keys})
    original_figures.check(MODELS.build(backbone), case)


@pytest.mark.parametrize('name', CASES)
def test_wrong_vit_feature_gives_other_numbers(name):
    """The two variants of the original differ, so the comparison above can fail."""
    case = original_figures.load(name)
    other = 'per_stage' if case['cfg']['task'] == 'detection' else 'last'
    model = original_figures.build(case['cfg'], vit_feature=other).eval()
    model.load_state_dict(original_figures.part(case, 'sd/'))
    with torch.no_grad():
        assert original_figures.relative_error(model(case['input'])[0], case['out0']) > 1e-2


SIZES = {
    'T': ('tiny', 6, 1.0),
    'S': ('small', 6, 1.0),
    'B': ('base', 12, 0.5),
    'L': ('large', 16, 0.5),
}
RELEASED = [
    *(f'detection/vit_adapter_{size}' for size in 'TSBL'),
    *(f'segmentation/vit_adapter_{size}' for size in 'TSBL'),
    *(f'detection/dinov2_adapter_{size}' for size in 'SBL'),
    'detection/vit_adapter_B_mae',
    'detection/beit_adapter_L',
    'segmentation/beit_adapter_L_512',
    'segmentation/beit_adapter_L_640',
    'segmentation/beit_adapter_B_512',
]


def released(name):
    """The released model of a manifest entry, without memory."""
    task, kind = name.split('/')
    size = next(part for part in kind.split('_') if part in SIZES)
    timm_size, heads, ratio = SIZES[size]
    adapter = dict(deform_num_heads=heads, deform_ratio=ratio)
    encoder = dict(type='TimmViT', model_name=f'vit_{timm_size}_patch16_224', init_values=1.0)
    if kind.startswith('dinov2'):
        encoder.update(img_size=592)
    elif kind.endswith('mae'):
        encoder.update(init_values=None)
        adapter.update(use_extra_extractor=False)
    elif kind.startswith('beit'):
        encoder.update(model_name=f'beit_{timm_size}_patch16_224', window_pad='input')
        if task == 'detection':
            encoder.update(window_sizes=([14] * 5 + [56]) * 4)
        else:
            encoder.update(img_size=int(kind.split('_')[-1]), keep_prefix_tokens=True)
    with torch.device('meta'):
        return ViTAdapter(encoder, **adapter)


@pytest.mark.parametrize('name', RELEASED)
def test_names_shapes_and_counts_of_the_released_models(name):
    """Every name of the original's code finds its place, and no place stays empty."""
    with gzip.open(original_figures.DATA / f'manifest_{name.split("/")[0]}.json.gz') as file:
        manifest = json.load(file)[name]
    model = released(name)
    state_dict = {
        key: torch.empty(shape, device='meta') for key, shape in manifest['shapes'].items()
    }
    model.load_state_dict(state_dict, strict=True)
    assert sum(p.numel() for p in model.parameters()) == manifest['num_params']


def test_the_manifests_hold_nothing_else():
    for task in ('detection', 'segmentation'):
        with gzip.open(original_figures.DATA / f'manifest_{task}.json.gz') as file:
            assert set(json.load(file)) == {name for name in RELEASED if name.startswith(task)}


@pytest.mark.parametrize(
    ('model_name', 'options', 'millions'),
    [
        ('deit_tiny_patch16_224', dict(init_values=1.0), 5.973),
        ('deit_small_patch16_224', dict(init_values=1.0), 23.448),
        ('deit_base_patch16_224', dict(init_values=1.0), 92.903),
        ('vit_large_patch16_384', dict(init_values=1.0), 316.333),
        ('beit_large_patch16_224', dict(img_size=512, keep_prefix_tokens=True), 317.236),
    ],
)
def test_parameter_counts_of_the_original_baselines(model_name, options, millions):
    with torch.device('meta'):
        model = SimplePyramid(dict(type='TimmViT', model_name=model_name, **options))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 3) == millions


def by_timm(model, images):
    """The four maps of timm's own model with the weights of our baseline's encoder, and itself."""
    encoder = model.encoder
    options = dict(img_size=64, embed_dim=32, depth=4, num_heads=2)
    weights = encoder.state_dict()
    if encoder.family == 'vit':  # without CLS
        options.update(class_token=False, global_pool='avg')
        weights['pos_embed'] = weights['pos_embed'][:, 1:]
    theirs = timm.create_model(encoder.model_name, num_classes=0, **options).eval()
    theirs.load_state_dict(weights, strict=False)
    indices = dict(indices=[0, 1, 2, 3], intermediates_only=True)
    return theirs.forward_intermediates(images, **indices), theirs


def loss(outputs):
    return sum(output.square().mean() for output in outputs)


@pytest.mark.parametrize('model_name', ['vit_tiny_patch16_224', 'beit_base_patch16_224'])
def test_the_plain_baselines_in_the_originals_names(model_name):
    """`ViTBaseline` and `BEiTBaseline`: four maps of the ViT, each brought to its stride."""
    beit = model_name.startswith('beit')
    small = dict(img_size=64, embed_dim=32, depth=4, num_heads=2, keep_prefix_tokens=beit)
    model = SimplePyramid(dict(type='TimmViT', model_name=model_name, **small)).eval()
    own = {key: torch.rand(value.shape) - 0.5 for key, value in model.state_dict().items()}
    originals = {}
    for key, value in own.items():
        name = key.removeprefix('encoder.')
        originals[re.sub(r'^up(\d)', r'fpn\1', name) if beit else name] = (
            value.abs() if 'running_var' in name else value
        )
    model.load_state_dict(originals, strict=True)
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    outputs = model(images)
    (of_images,) = torch.autograd.grad(loss(outputs), images, retain_graph=True)
    loss(outputs).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    maps, theirs = by_timm(model, images)
    if not beit:
        norms = (model.norm1, model.norm2, model.norm3, model.norm4)
        maps = [norm(m.movedim(1, -1)).movedim(-1, 1) for norm, m in zip(norms, maps, strict=True)]
    deconvolve = torch.nn.functional.conv_transpose2d
    (first, last), second = (model.up1[0], model.up1[3]), model.up2[0] if beit else model.up2
    inner = deconvolve(maps[0], first.weight, first.bias, stride=2)
    inner = torch.nn.functional.gelu(model.up1[1](inner))
    expected = [
        deconvolve(inner, last.weight, last.bias, stride=2),
        deconvolve(maps[1], second.weight, second.bias, stride=2),
        maps[2],
        torch.nn.functional.max_pool2d(maps[3], 2),
    ]
    assert isinstance(model.up1[1], torch.nn.BatchNorm2d if beit else torch.nn.GroupNorm)
    for output, reference in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, reference, rtol=1e-4, atol=1e-4)
    images.grad = None
    loss(expected).backward()
    assert original_figures.relative_error(of_images, images.grad) < 1e-4
    for name, gradient in gradients.items():
        inside = name.removeprefix('encoder.')
        wanted = (model if inside == name else theirs).get_parameter(inside).grad
        if inside == 'pos_embed':  # timm's has no row for a CLS token here
            gradient = gradient[:, 1:]
        assert original_figures.relative_error(gradient, wanted) < 1e-4, name
