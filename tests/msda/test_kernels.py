"""What serves on the CPU against the reference in float64: dtypes, channels, edge cases."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msda import reference
from tests.msda.backends import (
    assert_close,
    compiled,
    fused_inputs,
    grad_for,
    needs_kernels,
    to_double,
    unfused_inputs,
)

CHANNELS = [1, 4, 8, 12, 16, 30, 32, 40, 64, 71, 128]
MAPS = {1: [(5, 7)], 3: [(8, 9), (4, 5), (2, 3)], 4: [(4, 3), (0, 4), (2, 2), (1, 1)]}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# what float32 sums of a few hundred terms lose
SUMS = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 1e-5, torch.float16: 1e-5}


def check(dtype, **sizes):
    """Forward and backward, fused and not, against the reference in float64."""
    queries = sizes.get('queries', 21)
    for arguments, forward, backward in (
        (fused_inputs(dtype, **sizes), 'attend_fused', 'attend_fused_backward'),
        (unfused_inputs(dtype, **sizes), 'attend', 'attend_backward'),
    ):
        out = getattr(compiled, forward)(*arguments)
        assert out.dtype == dtype
        expected = getattr(reference, forward)(*to_double(arguments))
        assert_close(out, expected, tolerance=SUMS[dtype])
        arguments = [grad_for(arguments[0], queries), *arguments]
        grads = getattr(compiled, backward)(*arguments)
        expected = getattr(reference, backward)(*to_double(arguments))
        tensors = [arguments[1], *arguments[-2:]]
        for grad, wanted, tensor in zip(grads, expected, tensors, strict=True):
            assert grad.dtype == tensor.dtype
            # gradients of locations are float32 sums of what cancels
            assert_close(grad, wanted, tolerance=10 * SUMS[dtype])


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('number', range(len(CHANNELS)), ids=[f'D{c}' for c in CHANNELS])
def test_equals_the_reference(number, dtype):
    points, levels = [4, 1, 8][number % 3], [3, 1, 4][(number + number // 3) % 3]
    shapes, size = MAPS[levels], [2, 4][number % 2]
    check(
        dtype, channels=CHANNELS[number], shapes=shapes, points=points, reference_size=size, heads=2
    )


@pytest.mark.slow
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('points', [1, 3, 4, 8])
@pytest.mark.parametrize('levels', MAPS)
def test_equals_the_reference_everywhere(levels, points, dtype):
    for channels in CHANNELS:
        for size in (2, 4):
            for queries in (1, 16, 37):
                check(
                    dtype,
                    channels=channels,
                    shapes=MAPS[levels],
                    points=points,
                    reference_size=size,
                    queries=queries,
                )


sizes = st.fixed_dictionaries(
    dict(
        shapes=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4),
        batch=st.integers(0, 3),
        queries=st.integers(0, 40),
        heads=st.integers(1, 4),
        channels=st.integers(1, 70),
        points=st.integers(1, 6),
        reference_size=st.sampled_from([2, 4]),
        seed=st.integers(0, 1000),
    )
)
relaxed = dict(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@settings(max_examples=25, **relaxed)
@given(dtype=st.sampled_from(DTYPES), sizes=sizes)
def test_equals_the_reference_on_any_shape(dtype, sizes):
    check(dtype, **sizes)


@pytest.mark.slow
@settings(max_examples=400, **relaxed)
@given(dtype=st.sampled_from(DTYPES), sizes=sizes)
def test_equals_the_reference_on_many_shapes(dtype, sizes):
    check(dtype, **sizes)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('channels', [12, 64])
def test_narrow_values_round_once(dtype, channels):
    """16-bit results are the float32 results of the same inputs, rounded."""
    arguments = fused_inputs(dtype, channels=channels)
    as_float = [a.float() if isinstance(a, torch.Tensor) else a for a in arguments]
    grad = grad_for(arguments[0], 21)
    pairs = [(compiled.attend_fused(*arguments), compiled.attend_fused(*as_float))]
    pairs += zip(
        compiled.attend_fused_backward(grad, *arguments),
        compiled.attend_fused_backward(grad.float(), *as_float),
        strict=True,
    )
    for narrow, wide in pairs:
        # half a unit in the last place, and what another order of the sums gives
        assert_close(narrow, wide, tolerance=1e-6)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_narrow_values_round_as_torch_does(dtype):
    """Each rounding case: ties, subnormal numbers, overflow, infinities, NaN."""
    exact = torch.tensor([1.0, 2.0, 0.5, 65504.0, 6e-8, 3e-5, 1e-30, 0.0, math.inf, -math.inf])
    numbers = torch.cat([exact, torch.randn(54) * torch.logspace(-9, 9, 54)]).to(dtype)
    value = torch.cat([numbers, numbers.flip(0)]).view(1, 2, 1, 64)  # two maps of one pixel
    locations = torch.full((1, 2, 1, 2, 1, 2), 0.5)
    locations[0, 0, 0, 1] = 9  # the first query samples the first map alone
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).view(1, 2, 1, 2, 1).to(dtype)
    out = compiled.attend(value, [1, 1, 1, 1], locations, weights)[0]
    pair = value.float().view(2, 64)
    torch.testing.assert_close(out[0], pair[0].to(dtype), rtol=0, atol=0)
    mean = (pair[0] * 0.5 + pair[1] * 0.5).to(dtype)
    torch.testing.assert_close(out[1], mean, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_points_that_are_nowhere_count_as_zero(dtype):
    """NaN, infinite and huge offsets: no contribution, no gradient, no access out of bounds."""
    arguments = fused_inputs(dtype, channels=40)
    value, shapes, centres, offsets, logits = arguments
    for number, bad in enumerate((math.nan, math.inf, -math.inf, 6e4, -6e4)):
        offsets[:, number::6, :, :, 1, number % 2] = bad
    out = compiled.attend_fused(*arguments)
    assert_close(out, reference.attend_fused(*to_double(arguments)), tolerance=SUMS[dtype])
    grad = grad_for(value, 21)
    grads = compiled.attend_fused_backward(grad, *arguments)
    expected = reference.attend_fused_backward(*to_double([grad, *arguments]))
    for got, wanted in zip(grads, expected, strict=True):
        assert_close(got, wanted, tolerance=10 * SUMS[dtype])
    nowhere = ~(offsets.abs() < 1e4).all(-1)
    assert grads[1][nowhere].eq(0).all()


def test_all_points_outside():
    value, shapes, locations, weights = unfused_inputs()
    outside = locations + 5
    assert compiled.attend(value, shapes, outside, weights).eq(0).all()
    grads = compiled.attend_backward(grad_for(value, 21), value, shapes, outside, weights)
    assert all(grad.eq(0).all() for grad in grads)


@needs_kernels
def test_pixels_that_are_not_sampled_do_not_leak():
    """A NaN outside of the four corners stays where it is, next to the border too."""
    value = torch.full((1, 9, 1, 32), math.nan)
    value[0, 0] = 1.0  # the first of 3 x 3 pixels
    locations = torch.tensor([0.5 / 3 - 0.1, 0.5 / 3 - 0.1]).view(1, 1, 1, 1, 1, 2)
    out = compiled.attend(value, [3, 3], locations, torch.ones(1, 1, 1, 1, 1))
    torch.testing.assert_close(out, torch.full_like(out, 0.7**2))


def test_empty_inputs():
    for sizes in (dict(batch=0), dict(queries=0), dict(shapes=[(0, 3)]), dict(channels=0)):
        arguments = fused_inputs(**sizes)
        value, offsets, logits = arguments[0], arguments[3], arguments[4]
        queries = offsets.shape[1]
        out = compiled.attend_fused(*arguments)
        assert out.shape == (value.shape[0], queries, value.shape[2] * value.shape[3])
        assert out.eq(0).all()
        grads = compiled.attend_fused_backward(torch.ones_like(out), *arguments)
        assert [g.shape for g in grads] == [value.shape, offsets.shape, logits.shape]
        assert all(g.eq(0).all() for g in grads)


def test_any_strides():
    """Views of one projection, transposed and broadcast tensors give what dense copies give."""
    value, shapes, centres, offsets, logits = fused_inputs(channels=12)
    dense = compiled.attend_fused(value, shapes, centres, offsets, logits)
    joint = torch.cat([offsets.flatten(2), logits.flatten(2)], dim=-1)
    width = offsets[0, 0].numel()
    views = (
        value.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        shapes,
        centres.expand(2, -1, -1, -1).transpose(1, 2).contiguous().transpose(1, 2),
        joint[..., :width].view(offsets.shape),
        joint[..., width:].view(logits.shape),
    )
    assert not any(v.is_contiguous() for v in views if isinstance(v, torch.Tensor))
    assert compiled.attend_fused(*views).equal(dense)
    grad = grad_for(value, 21)
    strided = grad.transpose(0, 1).contiguous().transpose(0, 1)
    for got, wanted in zip(
        compiled.attend_fused_backward(strided, *views),
        compiled.attend_fused_backward(grad, value, shapes, centres, offsets, logits),
        strict=True,
    ):
        assert got.is_contiguous()
        assert got.equal(wanted)
    broadcast = value[:1].expand(2, -1, -1, -1)
    expected = compiled.attend_fused(broadcast.contiguous(), shapes, centres, offsets, logits)
    assert compiled.attend_fused(broadcast, shapes, centres, offsets, logits).equal(expected)


@needs_kernels
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_same_bits_on_any_number_of_threads(dtype):
    """1 and 2 threads take a head each; 5 threads split queries and channels."""
    arguments = fused_inputs(dtype, channels=71, queries=150)
    grad = grad_for(arguments[0], 150)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2, 5, 64):
            torch.set_num_threads(threads)
            out = compiled.attend_fused(*arguments)
            results.append((out, *compiled.attend_fused_backward(grad, *arguments)))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(a.equal(b) for a, b in zip(result, results[0], strict=True))


@needs_kernels
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(value=torch.zeros(2, 41, 96)), r'value has shape \(2, 41, 96\)'),
        (dict(shapes=[5, 7, 3]), r'3 numbers'),
        (dict(shapes=[5, 7, 3, 3]), r'add up to 44 pixels, but value has 41'),
        (dict(shapes=[-5, -7, 3, 2]), r'level 0 of -5 x -7'),
        (dict(shapes=[2**40, 2**40, 3, 2]), r'fewer than 2\^31'),
        (dict(centres=torch.zeros(3, 21, 2, 2)), r'reference_points has shape'),
        (dict(centres=torch.zeros(1, 21, 2, 3)), r'reference_points has shape'),
        (dict(centres=torch.zeros(1, 20, 2, 2)), r'reference_points has shape'),
        (dict(centres=torch.zeros(1, 21, 2, 2).double()), r'dtype of reference_points'),
        (dict(offsets=torch.zeros(2, 21, 3, 2, 4)), r'sampling_offsets has shape'),
        (dict(offsets=torch.zeros(2, 21, 3, 3, 4, 2)), r'sampling_offsets has shape'),
        (dict(logits=torch.zeros(2, 21, 3, 7)), r'attention_logits has shape'),
        (dict(logits=torch.zeros(2, 21, 3, 8).half()), r'dtype of attention_logits'),
        (dict(value=torch.zeros(2, 41, 3, 32).int()), r'must be float32'),
    ],
)
def test_kernels_check_what_they_are_given(change, message):
    names = ('value', 'shapes', 'centres', 'offsets', 'logits')
    arguments = dict(zip(names, fused_inputs(), strict=True))
    with pytest.raises(RuntimeError, match=message):
        compiled.attend_fused(*{**arguments, **change}.values())


@needs_kernels
def test_kernels_check_the_gradient():
    arguments = fused_inputs()
    with pytest.raises(RuntimeError, match='grad_output has shape'):
        compiled.attend_fused_backward(torch.zeros(2, 20, 96), *arguments)
    with pytest.raises(RuntimeError, match='dtype of grad_output'):
        compiled.attend_fused_backward(torch.zeros(2, 21, 96).double(), *arguments)


def test_opcheck_of_every_dtype():
    for dtype in (torch.float32, torch.bfloat16):
        arguments = fused_inputs(dtype, channels=8, queries=3)
        torch.library.opcheck(
            compiled.attend_fused, arguments, test_utils=('test_schema', 'test_faketensor')
        )
        grad = grad_for(arguments[0], 3)
        torch.library.opcheck(
            compiled.attend_fused_backward,
            (grad, *arguments),
            test_utils=('test_schema', 'test_faketensor'),
        )
