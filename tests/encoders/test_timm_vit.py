"""``TimmViT``: timm's numbers, windows, any size, weights, errors."""

from __future__ import annotations

import socket

import huggingface_hub
import pytest
import timm
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS

from vitadapter_dense.checkpoints import WeightsError
from vitadapter_dense.encoders import TimmStages, TimmViT, Tokens, hub
from vitadapter_dense.encoders.attention import merge_windows, partition_windows

SMALL = dict(img_size=64, embed_dim=32, depth=3, num_heads=2)

FAMILIES = {
    'deit': ('deit_tiny_patch16_224', {}),
    'deit_distilled': ('deit_tiny_distilled_patch16_224', {}),
    'augreg': ('vit_tiny_patch16_224', dict(init_values=0.1)),
    'clip': ('vit_base_patch16_clip_224', {}),
    'mae': ('vit_base_patch16_224.mae', {}),
    'dinov2': ('vit_small_patch14_dinov2', dict(img_size=56)),
    'dinov2_registers': ('vit_small_patch14_reg4_dinov2', dict(img_size=56)),
    'swiglu': ('vit_giant_patch14_dinov2', dict(img_size=56)),
    'siglip': ('vit_base_patch16_siglip_224', {}),
    'deit3': ('deit3_small_patch16_224', {}),
    'beit': ('beit_base_patch16_224', {}),
    'beitv2': ('beitv2_base_patch16_224', {}),
    'eva': ('eva_large_patch14_196', dict(img_size=56)),
    'eva02': ('eva02_small_patch14_224', dict(img_size=56)),
    'eva02_unfused': ('eva02_base_patch14_224', dict(img_size=56, qkv_fused=False)),
    'dinov3': ('vit_small_patch16_dinov3', {}),
    'rope_mixed': ('vit_small_patch16_rope_mixed_224', {}),
    'perception_encoder': ('vit_pe_core_base_patch16_224', {}),
}


def build(family='augreg', **overrides):
    name, options = FAMILIES[family]
    return TimmViT(name, **{**SMALL, **options, **overrides})


def randomise(model):
    """Random values for what starts at a constant: layer scales, biases, BEiT's tables."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 or parameter.std() == 0:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def twin(family):
    """Timm's own model with the weights of ours, and ours with all its tokens."""
    name, options = FAMILIES[family]
    ours = randomise(build(family, keep_prefix_tokens=True)).eval()
    theirs = timm.create_model(name, num_classes=0, **{**SMALL, **options}).eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not missing.unexpected_keys
    return ours, theirs


@pytest.mark.parametrize('family', FAMILIES)
def test_equals_timm_before_the_final_norm(family):
    ours, theirs = twin(family)
    theirs.norm = torch.nn.Identity()
    size = FAMILIES[family][1].get('img_size', 64)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        tokens = ours.run(ours.embed(images))
        torch.testing.assert_close(tokens.x, theirs.forward_features(images), rtol=1e-5, atol=1e-5)
    assert tokens.num_prefix == theirs.num_prefix_tokens
    assert tokens.as_map().shape == (2, 32, *theirs.patch_embed.grid_size)


def test_spans_add_up():
    model, images = build().eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        embedded = model.embed(images)
        in_parts = model.run(model.run(embedded, 0, 1), 1, 3)
        torch.testing.assert_close(in_parts.x, model.run(embedded).x)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('keep', [False, True])
def test_any_size_and_prefix_tokens(family, keep):
    model = build(family, keep_prefix_tokens=keep)
    for height, width in [(70, 45), (9, 120)]:
        tokens = model.run(model.embed(torch.randn(1, 3, height, width)))
        patch = model.patch_size
        assert tokens.hw == (-(-height // patch), -(-width // patch))
        assert (tokens.num_prefix > 0) == (keep and family != 'siglip')  # it has none
        assert tokens.x.isfinite().all()
    names = {name.split('.')[0] for name in model.state_dict()}
    assert not names & {'head', 'norm', 'fc_norm'}
    assert ('cls_token' in names) == (keep and tokens.num_prefix > 0)


@pytest.mark.parametrize('family', ['augreg', 'beit', 'eva02', 'dinov3', 'rope_mixed'])
@pytest.mark.parametrize('pad', ['qkv', 'input'])
@pytest.mark.parametrize('keep', [False, True])
def test_a_window_of_the_whole_map_is_global_attention(family, pad, keep):
    options = dict(keep_prefix_tokens=keep)
    windowed = build(family, window_sizes=[4, 4, 4], window_pad=pad, **options).eval()
    plain = build(family, **options).eval()
    plain.load_state_dict(randomise(windowed).state_dict(), strict=True)  # the same names
    images = torch.randn(2, 3, 4 * plain.patch_size, 4 * plain.patch_size)
    with torch.no_grad():
        torch.testing.assert_close(
            windowed.run(windowed.embed(images)).x, plain.run(plain.embed(images)).x
        )


@pytest.mark.parametrize('family', ['eva02', 'dinov3', 'rope_mixed'])
def test_rotary_positions_follow_the_image(family):
    ours, _ = twin(family)
    name, options = FAMILIES[family]
    theirs = timm.create_model(
        name, num_classes=0, dynamic_img_size=True, **{**SMALL, **options}
    ).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    theirs.norm, theirs.pos_embed, ours.pos_embed = torch.nn.Identity(), None, None
    images = torch.randn(1, 3, 3 * ours.patch_size, 7 * ours.patch_size)
    with torch.no_grad():
        tokens = ours.run(ours.embed(images))
        torch.testing.assert_close(tokens.x, theirs.forward_features(images), rtol=1e-5, atol=1e-5)


def test_a_beit_follows_the_image_as_one_made_for_its_size():
    """The table resampled in every forward pass is the table resampled once while loading."""
    general = randomise(build('beit', keep_prefix_tokens=True)).eval()
    special = build('beit', keep_prefix_tokens=True, img_size=(48, 112)).eval()
    special.load_state_dict(general.state_dict(), strict=True)
    assert special.blocks[0].attn.relative_position_bias_table.shape == (5 * 13 + 3, 2)
    images = torch.randn(2, 3, 48, 112)
    with torch.no_grad():
        a, b = (m.run(m.embed(images)).x for m in (general, special))
    torch.testing.assert_close(a, b)
    assert not [*general.buffers()]  # no index, neither shared nor in each block


@pytest.mark.parametrize('family', ['augreg', 'beit', 'dinov3'])
@pytest.mark.parametrize('windows', [None, [2, None, 3]])
@pytest.mark.parametrize('keep', [False, True])
def test_prompts_may_join_the_prefix(family, windows, keep):
    """A tuning method that adds tokens before the map does not disturb positions."""

    class Prompts:
        def before_block(self, index, tokens):
            prompts = torch.zeros(tokens.x.shape[0], 2, tokens.x.shape[2])
            x = torch.cat([tokens.prefix, prompts, tokens.grid], dim=1)
            return Tokens(x, tokens.hw, tokens.num_prefix + 2)

        def after_block(self, index, tokens):
            x = torch.cat([tokens.prefix[:, :-2], tokens.grid], dim=1)
            return Tokens(x, tokens.hw, tokens.num_prefix - 2)

    model = build(family, window_sizes=windows, keep_prefix_tokens=keep).eval()
    images = torch.randn(1, 3, 70, 45)
    with torch.no_grad():
        model.block_hooks.append(Prompts())
        tokens = model.run(model.embed(images))
    assert tokens.num_prefix == model.num_prefix
    assert tokens.x.isfinite().all()


def test_windows_do_not_see_each_other():
    model = build(window_sizes=[2, 2, 2]).eval()
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    changed[..., :32, :32] += 1  # the first window
    with torch.no_grad():
        difference = (
            model.run(model.embed(changed)).as_map() - model.run(model.embed(images)).as_map()
        )
    assert difference[..., :2, :2].abs().max() > 1e-3
    assert difference[..., 2:, :].abs().max() == 0
    assert difference[..., :, 2:].abs().max() == 0


def test_prefix_tokens_hear_of_every_window():
    model = build(window_sizes=[2, 2, 2], keep_prefix_tokens=True).eval()
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    changed[..., 48:, 48:] += 1
    with torch.no_grad():
        before, after = (model.run(model.embed(x), 0, 1).prefix for x in (images, changed))
    assert (before - after).abs().max() > 1e-5


def test_padded_windows_differ_as_in_the_original():
    """Padding after the linear layer gives keys of 0, padding before it gives keys of its bias."""
    torch.manual_seed(0)
    on_qkv = build(window_sizes=[3] * 3).eval()
    with torch.no_grad():
        for block in on_qkv.blocks:
            block.attn.qkv.bias.normal_()
    on_input = build(window_sizes=[3] * 3, window_pad='input').eval()
    on_input.load_state_dict(on_qkv.state_dict())
    for side, equal in [(48, True), (64, False)]:  # 3 and 4 tokens
        images = torch.randn(1, 3, side, side)
        with torch.no_grad():
            a, b = (m.run(m.embed(images)).x for m in (on_qkv, on_input))
        assert torch.allclose(a, b, atol=1e-5) == equal


@pytest.mark.parametrize('hw', [(4, 6), (5, 7), (2, 3)])
def test_partition_and_merge_are_inverse(hw):
    x = torch.randn(2, hw[0] * hw[1], 8)
    torch.testing.assert_close(merge_windows(partition_windows(x, hw, 3), hw, 3), x)


def test_hooks_act_around_every_block():
    seen = []

    class Hook:
        def before_block(self, index, tokens):
            seen.append(('before', index))
            return tokens

        def after_block(self, index, tokens):
            seen.append(('after', index))
            return tokens.with_x(tokens.x * 0)

    model = build()
    model.block_hooks.append(Hook())
    tokens = model.run(model.embed(torch.randn(1, 3, 64, 64)), 1, 3)
    assert seen == [('before', 1), ('after', 1), ('before', 2), ('after', 2)]
    assert tokens.x.abs().sum() == 0


def test_weights_survive_the_runners_init_weights():
    """MMEngine calls `init_weights` of children that have it, and timm's would draw anew."""

    class Parent(BaseModule):
        def __init__(self):
            super().__init__()
            self.encoder = MODELS.build(
                dict(type='TimmViT', model_name='vit_tiny_patch16_224', **SMALL)
            )

    parent = Parent()
    with torch.no_grad():
        for parameter in parent.parameters():
            parameter.fill_(0.25)
    parent.init_weights()
    assert all((parameter == 0.25).all() for parameter in parent.parameters())


def saved_twin(tmp_path, suffix='.pth', **options):
    theirs = timm.create_model('vit_tiny_patch16_224', num_classes=7, **{**SMALL, **options})
    path = tmp_path / f'weights{suffix}'
    if suffix == '.safetensors':
        from safetensors.torch import save_file

        save_file(theirs.state_dict(), path)
    else:
        torch.save({'model': theirs.state_dict(), 'epoch': 3}, path)
    return theirs, path


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_loads_a_file_in_init_weights_only(tmp_path, suffix):
    theirs, path = saved_twin(tmp_path, suffix)
    model = build(pretrained=str(path))
    assert not torch.equal(model.blocks[0].attn.qkv.weight, theirs.blocks[0].attn.qkv.weight)
    model.init_weights()
    for name, tensor in model.state_dict().items():
        if not name.endswith(('ls1.gamma', 'ls2.gamma')):
            assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_the_encoder_of_moco_v3_is_found_beside_its_momentum_encoder(tmp_path):
    theirs, _ = saved_twin(tmp_path)
    wanted, other = theirs.state_dict(), saved_twin(tmp_path)[0].state_dict()
    both = {f'module.base_encoder.{name}': tensor for name, tensor in wanted.items()}
    both |= {f'module.momentum_encoder.{name}': tensor for name, tensor in other.items()}
    torch.save(dict(state_dict=both, arch='vit'), tmp_path / 'moco.pth')
    model = build(pretrained=str(tmp_path / 'moco.pth'))
    model.init_weights()
    assert torch.equal(model.blocks[1].mlp.fc1.weight, wanted['blocks.1.mlp.fc1.weight'])


def test_a_full_checkpoint_makes_the_file_unnecessary(tmp_path):
    model = build(pretrained=str(tmp_path / 'nowhere.pth'))
    model.skip_pretrained = True
    model.init_weights()
    model.skip_pretrained = False
    with pytest.raises(WeightsError, match='no checkpoint file at .*nowhere'):
        model.init_weights()


def test_weights_of_another_size_are_resampled(tmp_path):
    _, path = saved_twin(tmp_path, img_size=96)
    model = build(pretrained=str(path))
    model.init_weights()
    assert model.pos_embed.shape == (1, 17, 32)


def test_weights_of_another_architecture_are_refused(tmp_path):
    _, path = saved_twin(tmp_path, embed_dim=48)
    model = build(pretrained=str(path))
    before = model.blocks[0].attn.qkv.weight.clone()
    with pytest.raises(WeightsError, match=r'does not fit.*width \(embed_dim\) 48, .* here has 32'):
        model.init_weights()
    _, path = saved_twin(tmp_path, depth=4)
    with pytest.raises(WeightsError, match='does not fit the model: .*depth 4, .* here has 3'):
        build(pretrained=str(path)).init_weights()
    _, path = saved_twin(tmp_path, mlp_ratio=2)
    with pytest.raises(WeightsError, match=r'blocks\.0\.mlp\.fc1\.weight \(64, 32\), .* here has'):
        build(pretrained=str(path)).init_weights()
    assert torch.equal(model.blocks[0].attn.qkv.weight, before)


def test_an_unreachable_hub_is_an_error_with_the_mends(monkeypatch):
    """Its client would try for a minute; offline it looks into its cache alone."""

    def unreachable(*args, **kwargs):
        raise OSError('no route to host')

    def from_the_cache(*args, **kwargs):
        assert huggingface_hub.constants.HF_HUB_OFFLINE
        raise OSError('nothing in the cache')

    model = build(pretrained=True)  # no network needed to build
    monkeypatch.setattr(hub, 'getproxies', dict)  # a proxy would know the way
    monkeypatch.setattr(socket, 'create_connection', unreachable)
    monkeypatch.setattr(timm, 'create_model', from_the_cache)
    with pytest.raises(WeightsError, match=r'no route(.|\n)*pretrained="path/to/file"(.|\n)*False'):
        model.init_weights()


def test_layer_depths():
    model = build(keep_prefix_tokens=True)
    depths = {name: model.get_layer_depth(name)[0] for name in model.state_dict()}
    assert depths['pos_embed'] == depths['cls_token'] == depths['patch_embed.proj.weight'] == 0
    assert depths['blocks.0.norm1.weight'] == 1
    assert depths['blocks.2.mlp.fc2.bias'] == 3
    assert model.get_layer_depth('blocks.2.mlp.fc2.bias') == (3, 5)
    assert model.get_layer_depth('something.else') == (4, 5)


def test_errors_name_the_value_and_the_mend():
    with pytest.raises(
        ValueError, match=r"no model 'deit_smal_patch16_224'.*deit_small_patch16_224"
    ):
        TimmViT('deit_smal_patch16_224')
    with pytest.raises(ValueError, match='window_sizes has 2 entries, but .* has 3 blocks'):
        build(window_sizes=[4, None])
    with pytest.raises(TypeError, match="'resnet18' is a ResNet.*TimmStages"):
        TimmViT('resnet18')
    with pytest.raises(ValueError, match='use_shared_rel_pos_bias=True: each block has its own'):
        build('beit', use_shared_rel_pos_bias=True)
    with pytest.raises(ValueError, match=r'no map of stride 4; it has \[16\]'):
        TimmStages('vit_tiny_patch16_224')


@pytest.mark.parametrize(
    ('name', 'options', 'channels'),
    [
        ('resnet18', {}, [64, 128, 256, 512]),
        ('convnext_atto', {}, [40, 80, 160, 320]),
        ('regnetx_002', {}, [24, 56, 152, 368]),
        (
            'swin_tiny_patch4_window7_224',
            dict(img_size=64, window_size=2, embed_dim=24, depths=(1, 1, 1, 1)),
            [24, 48, 96, 192],
        ),
    ],
)
def test_timm_stages(name, options, channels):
    model = TimmStages(name, **options).eval()
    assert model.out_channels == channels
    outputs = model(torch.randn(1, 3, 64, 64))
    expected = [(1, c, 64 // s, 64 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)]
    assert [tuple(output.shape) for output in outputs] == expected
    frozen = TimmStages(name, frozen=True, **options).train()
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not any(m.training for m in frozen.modules())
