"""Weights that are not an encoder's are refused, alone and in a whole model; nothing is loaded."""

from __future__ import annotations

import copy

import pytest
import timm
import torch

from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.checkpoints import WeightsError, load_checked
from vitadapter_dense.encoders import TimmViT

SMALL = dict(img_size=64, embed_dim=32, depth=4, num_heads=2)
NAME = 'vit_tiny_patch16_224'


def timms(name=NAME, **options):
    return dict(timm.create_model(name, num_classes=0, **{**SMALL, **options}).state_dict())


def without(state_dict, block):
    return {key: value for key, value in state_dict.items() if f'blocks.{block}.' not in key}


def with_block_of(state_dict, other):
    block = {key: value for key, value in other.items() if key.startswith('blocks.1.')}
    return {**without(state_dict, 1), **block}


def misshapen(name, *shape):
    return lambda: {**timms(), name: torch.zeros(shape)}


CASES = {
    'width': (lambda: timms(embed_dim=48), r'width \(embed_dim\) 48, .* 32'),
    'depth': (lambda: timms(depth=5), 'depth 5, .* 4'),
    'last block missing': (lambda: without(timms(), 3), 'depth 3, .* 4'),
    'block missing': (lambda: without(timms(), 1), r'blocks \[1\]'),
    'block of another width': (
        lambda: with_block_of(timms(), timms(embed_dim=48)),
        r'(mixture of architectures: blocks\.1|blocks\.1\.\w+\.weight \(48,\))',
    ),
    'block of another kind': (
        lambda: with_block_of(timms(), timms('beit_base_patch16_224')),
        'a mixture of architectures',
    ),
    'one matrix': (misshapen('blocks.2.mlp.fc1.weight', 64, 32), r'blocks\.2\.mlp\.fc1\.weight'),
    'one vector': (misshapen('blocks.2.norm1.bias', 31), r'blocks\.2\.norm1\.bias'),
    'patches': (misshapen('patch_embed.proj.bias', 31), r'patch_embed\.proj\.bias \(31,\)'),
}


@pytest.mark.parametrize('case', CASES)
def test_as_weights_of_the_encoder(case, tmp_path):
    make, message = CASES[case]
    torch.save(make(), tmp_path / 'bad.pth')
    model = TimmViT(NAME, tmp_path / 'bad.pth', **SMALL)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(WeightsError, match=message):
        model.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('naming', ['ours', 'original'])
def test_within_a_whole_model(case, naming):
    """What a checked loader gets of `load_from`, most of it matching."""
    make, message = CASES[case]
    encoder = dict(type='TimmViT', model_name=NAME, **SMALL)
    model = torch.nn.Module()
    model.backbone = ViTAdapter(encoder, conv_inplane=8, deform_num_heads=2)
    prefix = 'backbone.encoder.' if naming == 'ours' else 'backbone.'
    whole = {key: value for key, value in model.state_dict().items() if '.encoder.' not in key}
    whole |= {f'{prefix}{key}': value for key, value in make().items()}
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(WeightsError, match=f'does not fit the model: .*{message}'):
        load_checked(model, whole, min_share=0.2)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_positions_of_another_size_name_the_mend():
    """In a whole checkpoint they would stay random without a word."""
    model = TimmViT(NAME, **SMALL)
    with pytest.raises(WeightsError, match=r'pos_embed \(1, 37, 32\).* Set img_size and'):
        load_checked(model, timms(img_size=96))


def test_what_the_user_added_may_be_missing():
    """Layer scale on weights without it: all blocks lack it."""
    report = load_checked(TimmViT(NAME, init_values=1.0, **SMALL), timms(), min_share=0.9)
    assert {name.split('.', 2)[2] for name in report.missing} == {'ls1.gamma', 'ls2.gamma'}


def test_some_blocks_alone_may_be_loaded():
    """A part that was tuned is no mixture; its shapes are compared all the same."""
    part = {name: value for name, value in timms().items() if name.startswith('blocks.3.')}
    model = TimmViT(NAME, **SMALL)
    assert len(load_checked(model, part, min_share=0.0).matched) == len(part)
    with pytest.raises(WeightsError, match=r'blocks\.3\.norm1\.bias \(31,\)'):
        load_checked(model, {**part, 'blocks.3.norm1.bias': torch.zeros(31)}, min_share=0.0)


def test_a_layer_scale_is_not_left_out_unless_it_is_one():
    """The original's checkpoints have one everywhere, trained."""
    scaled = timms(init_values=1.0)
    load_checked(TimmViT(NAME, **SMALL), scaled)
    scaled['blocks.1.ls2.gamma'] = torch.full((32,), 0.9)
    with pytest.raises(WeightsError, match=r'blocks\.1\.ls2\.gamma.* none: set init_values=1\.0'):
        load_checked(TimmViT(NAME, **SMALL), scaled)
    load_checked(TimmViT(NAME, init_values=1.0, **SMALL), scaled)
