"""The same numbers as the original code: outputs, gradients, names, parameter counts."""

from __future__ import annotations

import gzip
import json

import original_figures
import pytest
import torch

from vitadapter_dense.backbones import SimplePyramid, ViTAdapter
from vitadapter_dense.backbones.official_names import rename_official_keys

CASES = ['det_vit_window', 'det_vit_layerscale', 'seg_vit', 'det_beit']


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('with_cp', [False, True])
def test_outputs_and_gradients(name, with_cp):
    case = original_figures.load(name)
    model = original_figures.build(case['cfg'], with_cp=with_cp)
    model.encoder.with_cp = with_cp
    model.load_state_dict(original_figures.part(case, 'sd/'), strict=True)  # as it is
    model.eval()
    images = case['input'].requires_grad_()
    outputs = model(images)
    for index, output in enumerate(outputs):
        assert relative_error(output, case[f'out{index}']) < 1e-5
    sum((output**2).mean() for output in outputs).backward()
    assert relative_error(images.grad, case['grad_input']) < 1e-5

    expected = original_figures.part(case, 'gradnorm/')
    rename_official_keys(model, expected, '')
    gradients = {name: parameter.grad.norm() for name, parameter in model.named_parameters()}
    assert gradients.keys() == expected.keys()
    for parameter, norm in expected.items():
        torch.testing.assert_close(gradients[parameter], norm.float(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('name', CASES)
def test_wrong_vit_feature_gives_other_numbers(name):
    """The two variants of the original differ, so the comparison above can fail."""
    case = original_figures.load(name)
    other = 'per_stage' if case['cfg']['task'] == 'detection' else 'last'
    model = original_figures.build(case['cfg'], vit_feature=other).eval()
    model.load_state_dict(original_figures.part(case, 'sd/'))
    with torch.no_grad():
        assert relative_error(model(case['input'])[0], case['out0']) > 1e-2


@pytest.mark.parametrize(
    ('size', 'model_name', 'heads', 'ratio'),
    [
        ('T', 'deit_tiny_patch16_224', 6, 1.0),
        ('S', 'deit_small_patch16_224', 6, 1.0),
        ('B', 'deit_base_patch16_224', 12, 0.5),
        ('L', 'vit_large_patch16_224', 16, 0.5),
    ],
)
def test_names_shapes_and_counts_of_the_released_models(size, model_name, heads, ratio):
    with gzip.open(original_figures.DATA / 'manifest_detection.json.gz') as file:
        manifest = json.load(file)[f'detection/vit_adapter_{size}']
    with torch.device('meta'):
        encoder = dict(type='TimmViT', model_name=model_name, init_values=1.0)
        model = ViTAdapter(encoder, deform_num_heads=heads, deform_ratio=ratio)
    expected = dict(manifest['shapes'])
    rename_official_keys(model, expected, '')
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == expected
    assert sum(p.numel() for p in model.parameters()) == manifest['num_params']


@pytest.mark.parametrize(
    ('model_name', 'millions'),
    [
        ('deit_tiny_patch16_224', 5.973),
        ('deit_small_patch16_224', 23.448),
        ('deit_base_patch16_224', 92.903),
    ],
)
def test_parameter_counts_of_the_original_baselines(model_name, millions):
    with torch.device('meta'):
        model = SimplePyramid(dict(type='TimmViT', model_name=model_name, init_values=1.0))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 3) == millions
