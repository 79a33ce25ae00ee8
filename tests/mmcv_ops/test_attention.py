"""mmcv's deformable attention computes with ``msda``: the same numbers, whoever imports it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmcv_ops import operators
from mmcv_ops.attention import AttendFunction, attend, replace_sampling

attention = pytest.importorskip('mmcv.ops.multi_scale_deform_attn')


def run(reference_size, device):
    torch.manual_seed(0)
    module = attention.MultiScaleDeformableAttention(
        embed_dims=24, num_heads=3, num_levels=2, num_points=2, dropout=0.0, batch_first=True
    )
    # away from whole pixels, where the gradient is one-sided
    torch.nn.init.normal_(module.sampling_offsets.weight, std=0.05)
    torch.nn.init.normal_(module.attention_weights.weight, std=0.1)
    query, value = torch.randn(2, 5, 24), torch.randn(2, 26, 24)
    reference_points = torch.rand(2, 5, 2, reference_size).to(device)
    query, value = (tensor.to(device).requires_grad_() for tensor in (query, value))
    module.to(device)
    out = module(
        query,
        value=value,
        reference_points=reference_points,
        spatial_shapes=torch.tensor([[4, 5], [2, 3]]).to(device),
        level_start_index=torch.tensor([0, 20]).to(device),
    )
    out.square().sum().backward()
    results = [out.detach(), query.grad, value.grad, *(p.grad for p in module.parameters())]
    return [result.cpu() for result in results]


@pytest.mark.parametrize('reference_size', [2, 4])
def test_same_numbers_and_gradients(monkeypatch, device, reference_size):
    assert attention.multi_scale_deformable_attn_pytorch is attend
    monkeypatch.setattr(attention, 'IS_CUDA_AVAILABLE', True)  # the entry of CUDA tensors
    ours = run(reference_size, device)
    monkeypatch.setattr(attention, 'multi_scale_deformable_attn_pytorch', attend.replaced)
    for got, wanted in zip(ours, run(reference_size, torch.device('cpu')), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def some_inputs():
    torch.manual_seed(0)
    shapes, starts = torch.tensor([[2, 3], [4, 1]]), torch.tensor([0, 6])
    value = torch.randn(1, 10, 2, 4)
    locations, weights = torch.rand(1, 3, 2, 2, 2, 2), torch.rand(1, 3, 2, 2, 2)
    return value, shapes, starts, locations, weights


def test_entry_points_of_cuda_take_the_same_arguments():
    """On a GPU, mmcv calls an autograd function with the starts of the levels and a step."""
    assert attention.MultiScaleDeformableAttnFunction is AttendFunction
    value, shapes, starts, locations, weights = some_inputs()
    leaves = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    wanted = attend.replaced(value, shapes, locations, weights)
    arguments = (value, shapes, starts, locations, weights)
    torch.testing.assert_close(AttendFunction.apply(*arguments, 64), wanted)

    grad = torch.randn_like(wanted)
    expected = torch.autograd.grad(wanted, leaves, grad)
    detached = [tensor.detach() for tensor in arguments]
    out = operators.OPERATORS['ms_deform_attn_forward'](*detached, im2col_step=64)
    torch.testing.assert_close(out, wanted.detach())
    got = [torch.zeros_like(leaf) for leaf in leaves]
    operators.OPERATORS['ms_deform_attn_backward'](*detached, grad, *got, im2col_step=64)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_levels_in_another_order_are_refused():
    value, shapes, _, locations, weights = some_inputs()
    with pytest.raises(ValueError, match=r'level_start_index \[4, 0\] does not fit'):
        AttendFunction.apply(value, shapes, torch.tensor([4, 0]), locations, weights)


@pytest.mark.parametrize('name', ['multi_scale_deformable_attn_pytorch', 'forward', 'gone'])
def test_functions_that_take_other_arguments_stay(caplog, name):
    """Of another mmcv: nothing is given to one argument that was meant for another."""

    def other(ctx, value, sampling_locations, value_spatial_shapes, *rest):
        raise AssertionError

    theirs = SimpleNamespace(__name__='mmcv.ops.multi_scale_deform_attn')
    theirs.multi_scale_deformable_attn_pytorch = attend.replaced
    theirs.MultiScaleDeformableAttnFunction = type('Function', (AttendFunction.replaced,), {})
    if name == 'gone':
        del theirs.MultiScaleDeformableAttnFunction
    else:
        place = theirs.MultiScaleDeformableAttnFunction if name == 'forward' else theirs
        setattr(place, name, other)
    before = dict(vars(theirs))
    replace_sampling(theirs)
    assert vars(theirs) == before
    assert 'is not that of mmcv 2.3' in caplog.text
