"""mmcv's attention module on our kernels: the same numbers, and undone when asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import msda

attention = pytest.importorskip('mmcv.ops.multi_scale_deform_attn')
NAMES = ('multi_scale_deformable_attn_pytorch', 'MultiScaleDeformableAttnFunction')


def run(reference_size, dtype=torch.float32):
    torch.manual_seed(0)
    module = attention.MultiScaleDeformableAttention(
        embed_dims=24, num_heads=3, num_levels=2, num_points=2, dropout=0.0, batch_first=True
    )
    # away from whole pixels, where the gradient is one-sided
    torch.nn.init.normal_(module.sampling_offsets.weight, std=0.05)
    torch.nn.init.normal_(module.attention_weights.weight, std=0.1)
    module = module.to(dtype)
    query = torch.randn(2, 5, 24, dtype=dtype, requires_grad=True)
    value = torch.randn(2, 26, 24, dtype=dtype, requires_grad=True)
    shapes = torch.tensor([[4, 5], [2, 3]])
    reference = torch.rand(2, 5, 2, reference_size, dtype=dtype)
    starts = torch.tensor([0, 20])
    out = module(
        query,
        value=value,
        reference_points=reference,
        spatial_shapes=shapes,
        level_start_index=starts,
    )
    out.float().square().sum().backward()
    return [out, query.grad, value.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize('reference_size', [2, 4])
def test_same_numbers_and_gradients(reference_size):
    expected = run(reference_size)
    with msda.replace_mmcv_ops():
        assert attention.multi_scale_deformable_attn_pytorch.__module__ == 'msda.mmcv_ops'
        got = run(reference_size)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_cuda_entry_point_takes_the_same_arguments():
    """On a GPU, mmcv calls an autograd function with the index of the levels and a step."""
    value, weights = torch.randn(1, 6, 2, 4), torch.rand(1, 3, 2, 1, 2)
    locations = torch.rand(1, 3, 2, 1, 2, 2)
    shapes = torch.tensor([[2, 3]])
    expected = attention.multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    with msda.replace_mmcv_ops():
        function = attention.MultiScaleDeformableAttnFunction
        out = function.apply(value, shapes, torch.zeros(1).long(), locations, weights, 64)
    torch.testing.assert_close(out, expected)


def test_bfloat16_runs():
    with msda.replace_mmcv_ops():
        assert all(tensor.isfinite().all() for tensor in run(2, torch.bfloat16))


def test_restores_once():
    originals = [getattr(attention, name) for name in NAMES]
    replacement = msda.replace_mmcv_ops()
    assert all(getattr(attention, n) is not o for n, o in zip(NAMES, originals, strict=True))
    replacement.restore()
    replacement.restore()
    assert all(getattr(attention, n) is o for n, o in zip(NAMES, originals, strict=True))


@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_restores_when_all_replacements_are_undone(order):
    originals = [getattr(attention, name) for name in NAMES]
    replacements = [msda.replace_mmcv_ops() for _ in range(2)]
    replacements[order[0]].restore()
    assert all(getattr(attention, n) is not o for n, o in zip(NAMES, originals, strict=True))
    replacements[order[1]].restore()
    assert all(getattr(attention, n) is o for n, o in zip(NAMES, originals, strict=True))


def test_config_import_replaces():
    code = (
        'import msda.use_in_mmcv\n'
        'from mmcv.ops import multi_scale_deform_attn as a\n'
        'assert a.multi_scale_deformable_attn_pytorch.__module__ == "msda.mmcv_ops"'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
