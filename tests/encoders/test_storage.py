"""A frozen encoder in 16 bits: what is rounded, what is not, and that its outputs stay close."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from vitadapter_dense.checkpoints.checked_loading import WeightsError
from vitadapter_dense.tuning.base_weights import frozen_names_of, frozen_tensors, note_for

FAMILIES = {
    'vit': dict(model_name='deit_tiny_patch16_224'),
    'eva': dict(model_name='vit_small_patch16_dinov3.lvd1689m', keep_prefix_tokens=True),
    'beit': dict(model_name='beit_base_patch16_224'),
}
METHODS = {
    'frozen': None,
    'lora': dict(type='LoRA', rank=2),
    'prompts': dict(type='VisualPromptTuning', num_tokens=3),
    'last blocks': dict(type='PartialTuning', num_blocks=1),
}


def build(dtype: str, family: str = 'vit', tuning: dict | None = None, **options) -> nn.Module:
    torch.manual_seed(0)
    sizes = dict(depth=4, embed_dim=48, num_heads=3)
    encoder = dict(type='TimmViT', frozen=True, dtype=dtype, **FAMILIES[family], **sizes)
    adapter = dict(deform_num_heads=3, conv_inplane=8, injector_init=0.1, tuning=tuning, **options)
    return MODELS.build(dict(type='ViTAdapter', encoder=encoder, **adapter)).train()


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('method', METHODS)
def test_outputs_stay_close_and_what_trains_stays_float32(family: str, method: str) -> None:
    exact, rounded = (build(dtype, family, METHODS[method]) for dtype in ('float32', 'bfloat16'))
    rounded.load_state_dict(exact.state_dict())
    images = torch.rand(1, 3, 50, 70)
    maps = rounded(images)
    for found, expected in zip(maps, exact(images), strict=True):
        assert found.dtype == torch.float32
        difference = (found - expected).norm() / expected.norm()
        assert 0 < difference < 6e-3  # of a rounding to 8 bits: 4e-3
    sum(feature_map.square().mean() for feature_map in maps).backward()
    for name, parameter in rounded.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32, name
            assert parameter.grad is not None, name
    matrices = {
        f'{name}.weight'
        for name, layer in rounded.encoder.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and not layer.weight.requires_grad
    }
    stored = {n for n, p in rounded.encoder.named_parameters() if p.dtype == torch.bfloat16}
    assert stored == matrices
    assert stored


def test_recomputed_blocks_compute_the_same() -> None:
    images, gradients = torch.rand(2, 3, 40, 40), []
    for with_cp in (False, True):
        model = build('bfloat16')
        model.encoder.with_cp = with_cp
        sum(feature_map.square().mean() for feature_map in model(images)).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(map(torch.equal, *gradients))


def test_weights_come_and_go_between_both_types() -> None:
    exact, rounded = build('float32'), build('bfloat16')
    rounded.load_state_dict(exact.state_dict())
    again = build('float32')
    again.load_state_dict(rounded.state_dict())
    weight = exact.encoder.blocks[0].mlp.fc1.weight
    assert torch.equal(again.encoder.blocks[0].mlp.fc1.weight, weight.bfloat16().float())


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_deltas_know_the_type(dtype: str) -> None:
    tuned = build(dtype, tuning=METHODS['lora'])
    note = note_for('', frozen_names_of(tuned), tuned.state_dict(), dict(pretrained=dict(a='b')))
    assert frozen_tensors(build(dtype, tuning=METHODS['lora']), note, None).keys()
    other = build('float32' if dtype == 'bfloat16' else 'bfloat16', tuning=METHODS['lora'])
    with pytest.raises(WeightsError, match="dtype='bfloat16' of the encoder"):
        frozen_tensors(other, note, None)


def test_a_merged_method_is_not_rounded() -> None:
    tuned = build('bfloat16', tuning=METHODS['lora']).eval()
    for change in tuned.tuning.changes:
        for parameter in change.parameters():
            nn.init.normal_(parameter, std=1e-3)
    attention = tuned.encoder.blocks[0].attn.qkv
    before, change = attention.weight.float(), tuned.tuning.changes[0].weight()
    tuned.tuning.merge()
    assert torch.equal(attention.weight, before + tuned.tuning.scale * change)


def test_what_trains_is_not_stored_in_16_bits() -> None:
    with pytest.raises(ValueError, match="dtype='bfloat16' is for what is frozen: set frozen=True"):
        MODELS.build(dict(type='TimmViT', **FAMILIES['vit'], dtype='bfloat16'))
    with pytest.raises(ValueError, match="dtype='float16' is unknown"):
        MODELS.build(dict(type='TimmViT', **FAMILIES['vit'], dtype='float16', frozen=True))
