"""Layer decay makes the groups of the original ViT-Adapter."""

from __future__ import annotations

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor, build_optim_wrapper
from torch import nn

from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.training import LayerDecayOptimWrapperConstructor

RATE, LR, WEIGHT_DECAY, DEPTH = 0.5, 1e-4, 0.05, 2


class Backbone(nn.Module):
    """An adapter around a real encoder of two blocks, with the adapter's parameter names."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TimmViT(
            model_name='vit_tiny_patch16_224',
            embed_dim=12,
            depth=DEPTH,
            num_heads=2,
            init_values=1.0,
        )
        self.level_embed = nn.Parameter(torch.zeros(3, 12))
        self.spm = nn.Sequential(nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12))


class MaskHead(nn.Module):
    """The head whose embeddings the original puts in layer 0."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_embed = nn.Linear(12, 4)
        self.cls_embed = nn.Linear(12, 3)
        self.level_embed = nn.Embedding(3, 12)
        self.query_embed = nn.Embedding(5, 12)
        self.query_feat = nn.Embedding(5, 12)
        self.decoder = nn.Linear(12, 12)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.decode_head = MaskHead()


def build(model, **paramwise_cfg):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
            paramwise_cfg=paramwise_cfg or dict(layer_decay_rate=RATE),
        ),
    )


def settings(model, wrapper):
    """Learning rate and weight decay of every parameter by name; each stands in one group."""
    found = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        for parameter, name in zip(group['params'], group['param_names'], strict=True):
            assert names[id(parameter)] == name
            assert name not in found
            found[name] = (group['lr'], group['weight_decay'])
    return found


def test_groups_equal_the_written_out_expectation():
    model = Model()
    found = settings(model, build(model))
    embeddings, block_0, block_1, rest = LR / 8, LR / 4, LR / 2, LR  # 4 layers, halved each time
    decayed, free = WEIGHT_DECAY, 0.0
    expected = {
        'backbone.encoder.pos_embed': (embeddings, decayed),  # prefixed, so the exclusion misses it
        'backbone.encoder.patch_embed.proj.weight': (embeddings, decayed),
        'backbone.encoder.patch_embed.proj.bias': (embeddings, free),
        'backbone.encoder.blocks.0.attn.qkv.weight': (block_0, decayed),
        'backbone.encoder.blocks.0.attn.qkv.bias': (block_0, free),
        'backbone.encoder.blocks.0.norm1.weight': (block_0, free),
        'backbone.encoder.blocks.0.ls1.gamma': (block_0, free),
        'backbone.encoder.blocks.1.mlp.fc2.weight': (block_1, decayed),
        'backbone.encoder.blocks.1.mlp.fc2.bias': (block_1, free),
        'backbone.level_embed': (rest, decayed),
        'backbone.spm.0.weight': (rest, decayed),
        'backbone.spm.1.weight': (rest, free),
        'decode_head.mask_embed.weight': (embeddings, decayed),
        'decode_head.mask_embed.bias': (embeddings, free),
        'decode_head.cls_embed.weight': (embeddings, decayed),
        'decode_head.level_embed.weight': (embeddings, decayed),
        'decode_head.query_embed.weight': (embeddings, decayed),
        'decode_head.query_feat.weight': (embeddings, decayed),
        'decode_head.decoder.weight': (rest, decayed),
        'decode_head.decoder.bias': (rest, free),
    }
    assert {name: found[name] for name in expected} == expected  # powers of two: exact
    assert found.keys() == {name for name, _ in model.named_parameters()}


def test_custom_keys_multiply_the_layers_rates_as_mmengine_multiplies_its_own():
    """At a factor of 1 from layer to layer, MMEngine's constructor gives the same."""
    keys = {
        'decode_head': dict(lr_mult=10),
        'decode_head.level_embed': dict(lr_mult=3, decay_mult=0),
        'norm1': dict(lr_mult=0.5, decay_mult=2),
        'blocks.1': dict(lr_mult=4),  # longer, and says nothing of the decay
    }
    model = Model()
    plain = settings(model, build(model))
    found = settings(model, build(model, layer_decay_rate=RATE, custom_keys=keys))
    flat = settings(model, build(model, layer_decay_rate=1.0, custom_keys=keys))
    default = DefaultOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY)),
        dict(custom_keys=keys),
    )(model)
    rates = {id(g['params'][0]): g for g in default.optimizer.param_groups}
    for name, parameter in model.named_parameters():
        group = rates[id(parameter)]
        assert flat[name][0] == group['lr'], name
        assert found[name][0] == pytest.approx(plain[name][0] * group['lr'] / LR), name
        if 'decay_mult' in group:
            assert found[name][1] == group['weight_decay'], name
        else:  # the original's exceptions stand
            assert found[name][1] == plain[name][1], name


def test_an_optimiser_decays_as_the_table_says_without_a_decay_of_its_own():
    """AdamW decays by 0.01 where nothing is set, and would do so with norms and biases too."""
    optimizer = dict(type='AdamW', lr=LR)
    wrapper = LayerDecayOptimWrapperConstructor(
        dict(optimizer=optimizer), dict(layer_decay_rate=RATE)
    )(Model())
    decays = {
        g['group_name'].split('_', 2)[2]: g['weight_decay'] for g in wrapper.optimizer.param_groups
    }
    assert decays == dict(decay=0.01, no_decay=0.0)
    assert optimizer == dict(type='AdamW', lr=LR)


def test_parameters_share_groups():
    wrapper = build(Model())
    names = [group['group_name'] for group in wrapper.optimizer.param_groups]
    assert sorted(names) == sorted(
        f'layer_{layer}_{kind}' for layer in range(DEPTH + 2) for kind in ('decay', 'no_decay')
    )
    assert all(
        group['lr_scale'] == pytest.approx(group['lr'] / LR)
        for group in wrapper.optimizer.param_groups
    )


def test_frozen_parameters_are_left_out():
    model = Model()
    model.backbone.encoder.requires_grad_(False)
    found = settings(model, build(model))
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_wrapped_model_gives_the_same_groups():
    model = Model()
    wrapped = nn.DataParallel(model)
    assert settings(model, build(wrapped)) == settings(model, build(model))


def test_new_parameters_inside_a_block_belong_to_it():
    model = Model()
    model.backbone.encoder.blocks[1].lora = nn.Linear(12, 2)
    model.backbone.tuning = nn.Linear(12, 2)
    found = settings(model, build(model))
    assert found['backbone.encoder.blocks.1.lora.weight'] == (LR / 2, WEIGHT_DECAY)
    assert found['backbone.tuning.weight'] == (LR, WEIGHT_DECAY)


def test_the_groups_are_logged_once_as_a_table(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'vitadapter_dense.training.layer_decay.print_log', lambda text, **_: lines.append(text)
    )
    build(Model())
    assert len(lines) == 1
    assert len(lines[0].splitlines()) == 2 + 2 * (DEPTH + 2)


@pytest.mark.parametrize(
    ('paramwise_cfg', 'message'),
    [
        (dict(num_layers=2), 'set layer_decay_rate'),
        (dict(layer_decay_rate=0.9, norm_decay_mult=0.0), r'nothing else \(norm_decay_mult is\)'),
        (dict(layer_decay_rate=0.9, custom_keys=dict(head=dict(lr=1.0))), 'lr=1.0; a key takes'),
        (
            dict(layer_decay_rate=0.9, custom_keys=dict(neck=dict(lr_mult=2))),
            "'neck' is in no name",
        ),
        (dict(layer_decay_rate=1.5), r'layer_decay_rate=1\.5 must lie in'),
        (dict(layer_decay_rate=0.9, num_layers=12), 'num_layers=12 .* has 2 blocks'),
    ],
)
def test_wrong_settings_are_named(paramwise_cfg, message):
    with pytest.raises(ValueError, match=message):
        build(Model(), **paramwise_cfg)


def test_a_model_without_encoder_is_refused():
    with pytest.raises(ValueError, match='needs an encoder with get_layer_depth'):
        build(nn.Sequential(nn.Linear(2, 2)))
