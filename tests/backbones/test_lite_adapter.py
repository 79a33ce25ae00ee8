"""``LiteAdapter``: its maps, what trains in it, and that it exports as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vitadapter_dense.backbones import LiteAdapter, ViTAdapter
from vitadapter_dense.inference.frozen_front import front_of

VIT = dict(type='TimmViT', model_name='vit_tiny_patch16_224', img_size=64)
VIT |= dict(embed_dim=32, depth=4, num_heads=2)


def lite(encoder=None, **overrides):
    given = encoder if isinstance(encoder, nn.Module) else {**VIT, **(encoder or {})}
    return LiteAdapter(given, **{'conv_inplane': 4, **overrides})


def randomised(model):
    """In eval mode, with the statistics of a batch norm that has seen something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize(
    ('encoder', 'options', 'channels'),
    [
        ({}, {}, 32),
        (dict(patch_size=14, img_size=56), dict(out_channels=24), 24),
        (dict(keep_prefix_tokens=True, window_sizes=[3] * 4), dict(out_indices=[0, 1, 2]), 32),
        ({}, dict(norm_cfg=dict(type='GN', num_groups=2)), 32),
    ],
)
@pytest.mark.parametrize('shape', [(2, 64, 96), (1, 70, 45), (2, 20, 9)])
def test_four_maps_of_any_image_and_a_gradient_for_every_parameter(
    encoder, options, channels, shape
):
    batch, height, width = shape
    model = lite(encoder, **options)
    outputs = model(torch.randn(batch, 3, height, width))
    expected = [(batch, channels, -(-height // s), -(-width // s)) for s in (4, 8, 16, 32)]
    assert [tuple(output.shape) for output in outputs] == expected
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= {'encoder.cls_token'}


def test_maps_are_those_of_the_published_order():
    """Resized, concatenated, one 1x1 convolution: ours convolves before it resizes."""
    model, images = randomised(lite()), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        outputs = model(images)
        vit = [tokens.as_map() for tokens in model.encoder.run_through(images, [1, 2, 3])]
        vit = [vit[0], *vit]
        parts = zip(outputs, vit, model.prior(images), model.of_vit, model.of_prior, strict=True)
        for index, (output, vit_map, prior, of_vit, of_prior) in enumerate(parts):
            resized = F.interpolate(vit_map, prior.shape[-2:], mode='bilinear', align_corners=False)
            joined = torch.cat([resized, prior], dim=1)
            weight = torch.cat([of_vit.weight, of_prior.weight], dim=1)
            norm = getattr(model, f'norm{index + 1}')
            torch.testing.assert_close(output, norm(F.conv2d(joined, weight)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('tuning', [None, dict(type='LoRA', rank=2)])
def test_a_step_leaves_what_is_frozen_as_it_is(tuning):
    """Frozen, and then without a graph in the encoder; or tuned, and then its method alone."""
    model = lite(dict(frozen=tuning is None, drop_path_rate=0.5), tuning=tuning).train()
    before, seen = copy.deepcopy(model.state_dict()), []
    block = model.encoder.blocks[2]
    block.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    outputs = model(torch.randn(2, 3, 64, 64))
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    optimizer.step()
    assert seen == [tuning is not None]
    changed = {k for k, value in model.state_dict().items() if not torch.equal(value, before[k])}
    assert {'prior.stem.0.weight', 'of_vit.0.weight', 'norm4.weight'} <= changed
    assert not [name for name in changed if name.startswith('encoder.')]
    assert any(name.startswith('tuning.') for name in changed) == (tuning is not None)


def test_an_encoder_is_shared_with_an_adapter_without_injectors():
    adapter = ViTAdapter({**VIT, 'frozen': True}, conv_inplane=4, deform_num_heads=2)
    model = lite(adapter.encoder)
    assert model.encoder is adapter.encoder
    model(torch.randn(2, 3, 64, 64))
    with pytest.raises(ValueError, match='leaves out blocks 3 to 3 of an encoder that was handed'):
        lite(adapter.encoder, out_indices=[0, 1, 2])


def test_tasks_share_its_encoder_up_to_the_first_change():
    """What `MultiTaskModel` runs once."""
    front = list(front_of(lite(tuning=dict(type='PartialTuning', num_blocks=2))))
    assert front == ['encoder.embed', 'encoder.blocks.0', 'encoder.blocks.1']
    assert '' in front_of(lite(dict(frozen=True)))


@pytest.mark.parametrize(('depth', 'expected'), [(3, [0, 1, 2]), (5, [1, 2, 4]), (12, [5, 8, 11])])
def test_default_depths_are_half_three_quarters_and_the_whole(depth, expected):
    assert lite(dict(depth=depth)).out_indices == expected


@pytest.mark.parametrize('indices', [[1, 2], [2, 1, 3], [1, 2, 4], [-1, 2, 3]])
def test_depths_that_do_not_fit_are_named(indices):
    with pytest.raises(ValueError, match='three rising block numbers from 0 to 3'):
        lite(out_indices=indices)


@pytest.mark.slow
@pytest.mark.parametrize('hw', [(64, 96), (70, 45)])
def test_exports_as_it_is(hw):
    """With the operators of PyTorch alone."""
    model, images = randomised(lite(dict(frozen=True))), torch.randn(1, 3, *hw)
    with torch.no_grad():
        program = torch.export.export(model, (images,))
        own = [n.target for n in program.graph.nodes if str(n.target).startswith('msda')]
        assert not own
        for output, reference in zip(program.module()(images), model(images), strict=True):
            torch.testing.assert_close(output, reference)


@pytest.mark.slow
def test_runs_in_onnx_runtime(tmp_path):
    pytest.importorskip('onnxscript', reason='needs the extra `export`')
    runtime = pytest.importorskip('onnxruntime', reason='needs the extra `export`')
    model, images = randomised(lite()), torch.randn(1, 3, 64, 96)
    path = tmp_path / 'lite.onnx'
    with torch.no_grad():
        torch.onnx.export(model, (images,), path, dynamo=True)
        expected = model(images)
    session = runtime.InferenceSession(path)
    outputs = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    for output, reference in zip(outputs, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(output), reference, rtol=1e-3, atol=1e-4)
