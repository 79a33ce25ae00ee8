"""Properties of the backbones: any size, every switch, gradients, checkpointing, frozen
encoders."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from vitadapter_dense.adapter import Extractor
from vitadapter_dense.backbones import PlainViT, SimplePyramid, ViTAdapter
from vitadapter_dense.backbones.norm import norm_factory


def encoder(**overrides):
    return {
        **dict(type='TimmViT', model_name='vit_tiny_patch16_224', img_size=64),
        **dict(embed_dim=32, depth=4, num_heads=2),
        **overrides,
    }


def adapter(encoder_args=None, **overrides):
    small = dict(conv_inplane=4, deform_num_heads=2)
    return ViTAdapter(encoder(**(encoder_args or {})), **{**small, **overrides})


def extractors(model):
    return [module for module in model.modules() if isinstance(module, Extractor)]


SWITCHES = {
    'default': ({}, {}),
    'per_stage': ({}, dict(vit_feature='per_stage')),
    'no_vit_feature': ({}, dict(vit_feature=None)),
    'no_cffn': ({}, dict(with_cffn=False)),
    'no_extra_extractor': ({}, dict(use_extra_extractor=False)),
    'no_injector': ({}, dict(injector=False)),
    'narrow_values': ({}, dict(deform_ratio=0.5)),
    'group_norm': ({}, dict(norm_cfg=dict(type='GN', num_groups=2))),
    'global_attention': ({}, dict(attention='global')),
    'cswin_attention': ({}, dict(attention='cswin', with_cp=True)),
    'two_interactions': ({}, dict(interaction_indexes=[[0, 0], [1, 3]])),
    'windows': (dict(window_sizes=[3, None, 2, None]), {}),
    'prefix_tokens': (dict(keep_prefix_tokens=True, reg_tokens=2), {}),
    'prefix_tokens_in_windows': (dict(keep_prefix_tokens=True, window_sizes=[3] * 4), {}),
    'layer_scale': (dict(init_values=1.0), {}),
    'patch_14': (dict(model_name='vit_tiny_patch16_224', patch_size=14, img_size=56), {}),
}


@pytest.mark.parametrize('switch', SWITCHES)
@pytest.mark.parametrize('hw', [(64, 96), (70, 45), (20, 9)])
def test_any_switch_at_any_size(switch, hw):
    """Four maps at strides 4 .. 32, finite, and a gradient for every parameter."""
    model = adapter(*SWITCHES[switch][:1], **SWITCHES[switch][1])
    with torch.no_grad():  # at its start of 0, gamma hides the injectors' gradients
        for interaction in model.interactions:
            if interaction.injector is not None:
                interaction.injector.gamma.fill_(0.5)
    outputs = model(torch.randn(2, 3, *hw))
    expected = [(2, 32, math.ceil(hw[0] / s), math.ceil(hw[1] / s)) for s in (4, 8, 16, 32)]
    assert [tuple(output.shape) for output in outputs] == expected
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == [] or all(n in ('encoder.cls_token', 'encoder.reg_token') for n in without)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_padding_an_image_to_whole_patches_changes_nothing():
    """An image that is no multiple of 32 equals the same image padded with zeros, cell by cell."""
    model = adapter().eval()
    image = torch.randn(1, 3, 48, 80)
    padded = torch.nn.functional.pad(image, (0, 16, 0, 16))
    with torch.no_grad():
        small, large = model(image)[3], model(padded)[3]
    assert small.shape == large.shape


def test_reference_points_agree_across_levels_of_odd_images():
    """A pixel has the same place on every level, also where the levels reach differently far."""
    from vitadapter_dense.adapter.geometry import Level, reference_points

    levels = [Level.of_image(50, 70, stride) for stride in (8, 16, 32)]
    token_level = Level.of_image(50, 70, 14)
    points = reference_points([token_level], levels, torch.device('cpu'))
    assert points.shape == (1, token_level.size, 3, 2)
    extents = torch.tensor([[level.extent[1], level.extent[0]] for level in levels])
    pixels = points * extents
    torch.testing.assert_close(pixels, pixels[:, :, :1].expand_as(pixels))
    torch.testing.assert_close(pixels[0, 0, 0], torch.tensor([7.0, 7.0]))
    even = [Level.of_image(64, 96, stride) for stride in (8, 16, 32)]
    assert reference_points(even[1:2], even, torch.device('cpu')).shape[2] == 1


@pytest.mark.parametrize('windows', [None, [3, None, 3, None]])
def test_checkpointing_changes_no_number(windows):
    model = adapter(dict(window_sizes=windows, drop_path_rate=0.3), drop_path_rate=0.3)
    images = torch.randn(2, 3, 70, 45)
    gradients = []
    for with_cp in (False, True):
        model.encoder.with_cp = with_cp
        for interaction in model.interactions:
            interaction.with_cp = with_cp
        model.zero_grad()
        torch.manual_seed(3)  # drop path draws
        state = copy.deepcopy(model.state_dict())
        sum((output**2).mean() for output in model(images)).backward()
        model.load_state_dict(state)
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_two_sizes_before_one_backward_pass():
    """Windowed blocks recomputed in the backward pass use the layout of their own forward pass."""
    model = adapter(dict(window_sizes=[3] * 4)).eval()
    small, large = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 96, 80)
    gradients = []
    for with_cp in (False, True):
        model.encoder.with_cp = with_cp
        model.zero_grad()
        outputs = model(small) + model(large)
        sum((output**2).mean() for output in outputs).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize('injector', [True, False])
def test_frozen_encoder_is_unchanged_by_a_step(injector):
    model = adapter(dict(frozen=True, drop_path_rate=0.5), injector=injector).train()
    assert not any(module.training for module in model.encoder.modules())
    before = copy.deepcopy(model.state_dict())
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.1)
    sum((output**2).mean() for output in model(torch.randn(2, 3, 64, 64))).backward()
    optimizer.step()
    assert all(p.grad is None for p in model.encoder.parameters())
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert not [name for name in changed if name.startswith('encoder.')]
    assert {'level_embed', 'spm.stem.0.weight', 'up.weight', 'norm4.weight'} <= changed


def test_an_adapter_without_injector_leaves_the_encoder_untouched():
    model = adapter(injector=False).eval()
    images, seen = torch.randn(1, 3, 64, 64), {}
    model.interactions[-1].register_forward_hook(lambda *args: seen.update(tokens=args[2][0]))
    with torch.no_grad():
        model(images)
        expected = model.encoder.run(model.encoder.embed(images)).grid
    torch.testing.assert_close(seen['tokens'], expected)


def test_training_starts_from_the_untouched_encoder():
    """Gamma starts at 0: with injectors, too, the ViT sees nothing of the adapter at first."""
    model = adapter().eval()
    images, seen = torch.randn(1, 3, 64, 64), {}
    model.interactions[-1].register_forward_hook(lambda *args: seen.update(tokens=args[2][0]))
    with torch.no_grad():
        model(images)
        expected = model.encoder.run(model.encoder.embed(images)).grid
    torch.testing.assert_close(seen['tokens'], expected)


def test_extractors_that_start_at_zero_leave_the_spatial_prior_as_it_is():
    model = adapter(zero_init_extractors=True, vit_feature=None).train()
    images = torch.randn(2, 3, 64, 64)
    c1, *coarse = model.spm(images)
    expected = [model.norm1(c1 + model.up(coarse[0] + model.level_embed[0, :, None, None]))]
    expected += [
        norm(c) for norm, c in zip((model.norm2, model.norm3, model.norm4), coarse, strict=True)
    ]
    outputs = model(images)
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, wanted, atol=1e-4, rtol=1e-4)
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    ends = [extractor.attn.output_proj for extractor in extractors(model)]
    assert all(end.weight.grad.abs().sum() > 0 for end in ends)


def test_drop_path_of_the_adapter_is_the_encoders_by_default():
    rates = [i.extractor.drop_path.rate for i in adapter(dict(drop_path_rate=0.3)).interactions]
    assert rates == [0.3] * 4
    rates = [i.extractor.drop_path.rate for i in adapter(drop_path_rate=0.1).interactions]
    assert rates == [0.1] * 4


def test_runs_in_bfloat16_autocast():
    model = adapter().eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        with torch.autocast('cpu', torch.bfloat16):
            outputs = model(images)
    for output, reference in zip(outputs, expected, strict=True):
        assert (output.float() - reference).norm() < 0.05 * reference.norm()


def test_runs_in_float64():
    model, images = adapter().eval(), torch.randn(1, 3, 70, 45)
    with torch.no_grad():
        expected = model(images)
        outputs = model.double()(images.double())
    for output, reference in zip(outputs, expected, strict=True):
        assert output.dtype == torch.float64
        torch.testing.assert_close(output.float(), reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'spans',
    [
        [[0, 1], [3, 3]],  # a hole
        [[0, 2], [2, 3]],  # twice
        [[1, 2], [3, 3]],  # starts late
        [[0, 2]],  # ends early
        [[0, 4]],  # beyond the encoder
        [[2, 3], [0, 1]],  # out of order
        [[0, 1, 2], [3]],
    ],
)
def test_interactions_must_cover_the_encoder_in_order(spans):
    with pytest.raises(ValueError, match=r'do not cover the 4 blocks.*e\.g\. \[\[0, 0\], \[1, 1\]'):
        adapter(interaction_indexes=spans)


def test_default_spans_cover_depths_that_four_does_not_divide():
    for depth in (4, 5, 6, 7, 10):
        spans = adapter(dict(depth=depth)).spans
        covered = [block for first, last in spans for block in range(first, last + 1)]
        assert covered == list(range(depth))


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="vit_feature='all'"):
        adapter(vit_feature='all')
    with pytest.raises(ValueError, match="'per_stage' needs 4 interactions.*has 2"):
        adapter(vit_feature='per_stage', interaction_indexes=[[0, 1], [2, 3]])
    with pytest.raises(ValueError, match="norm_cfg type 'IN' is unknown"):
        norm_factory(dict(type='IN'))
    with pytest.raises(ValueError, match="style='fpn' is unknown"):
        SimplePyramid(encoder(), style='fpn')
    with pytest.raises(ValueError, match=r'out_indices \[3, 1, 2, 0\]'):
        SimplePyramid(encoder(), out_indices=[3, 1, 2, 0])
    with pytest.raises(ValueError, match=r'out_indices \[4\]'):
        PlainViT(encoder(), [4])


@pytest.mark.parametrize('hw', [(64, 96), (70, 45), (20, 9)])
@pytest.mark.parametrize(
    ('options', 'channels'),
    [
        (dict(style='original'), 32),
        (dict(style='original', out_indices=[3]), 32),
        (dict(style='vitdet', out_channels=24), 24),
    ],
)
def test_simple_pyramid(hw, options, channels):
    model = SimplePyramid(encoder(), **options)
    outputs = model(torch.randn(2, 3, *hw))
    expected = [(2, channels, math.ceil(hw[0] / s), math.ceil(hw[1] / s)) for s in (4, 8, 16, 32)]
    assert [tuple(output.shape) for output in outputs] == expected
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_plain_vit_gives_the_encoders_own_maps():
    model = PlainViT(encoder(), [1, 3]).eval()
    images = torch.randn(2, 3, 70, 45)
    with torch.no_grad():
        first, last = model(images)
        tokens = model.encoder.run(model.encoder.embed(images), 0, 2)
    assert last.shape == (2, 32, 5, 3)
    torch.testing.assert_close(first, tokens.as_map())
