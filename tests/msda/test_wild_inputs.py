"""Wild arguments: an error that names what is wrong, or the right numbers; never anything else."""

from __future__ import annotations

import contextlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msda import ms_deform_attn, ms_deform_attn_fused, reference
from tests.msda.backends import (
    compiled,
    fused_inputs,
    grad_for,
    to_double,
    unfused_inputs,
)

FUSED = ['value', 'spatial_shapes', 'reference_points', 'sampling_offsets', 'attention_logits']
UNFUSED = ['value', 'spatial_shapes', 'sampling_locations', 'attention_weights']
SHAPES = [(2, 3), (3, 2)]
SIZES = dict(shapes=SHAPES, batch=2, queries=3, heads=2, channels=4, points=2)


def sized(tensor, axis, change):
    """The tensor with another size along an axis."""
    axis %= tensor.dim()
    if change == 'longer':
        return torch.cat([tensor, tensor], axis)
    return tensor.narrow(axis, 0, {'empty': 0, 'shorter': tensor.shape[axis] // 2}[change])


TENSORS = st.one_of(
    st.tuples(st.just('size'), st.integers(0, 5), st.sampled_from(['empty', 'shorter', 'longer'])),
    st.tuples(st.just('axes'), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just('rank'), st.sampled_from(['less', 'last', 'more', 'none'])),
    st.tuples(st.just('dtype'), st.sampled_from(['int64', 'bool', 'complex64', 'half', 'double'])),
    st.tuples(st.just('kind'), st.sampled_from(['None', 'list', 'float', 'meta', 'sparse'])),
)
NUMBERS = st.one_of(
    st.integers(-3, 5), st.sampled_from([2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63), 2**70])
)
LEVELS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3)
ODD_LEVELS = st.sampled_from(
    [None, 7, 'ab', [], [3, 2], [(2,), (3, 2)], [(2.0, 3), (3, 2)], [('2', 3)], torch.ones(2, 2)]
)


def changed(tensor, change):
    """One of `TENSORS` applied."""
    kind, *how = change
    if kind == 'size':
        return sized(tensor, *how)
    if kind == 'axes':
        return tensor.transpose(how[0] % tensor.dim(), how[1] % tensor.dim())
    if kind == 'rank':
        forms = dict(less=tensor[0], last=tensor[..., 0], more=tensor[None], none=tensor.sum())
        return forms[how[0]]
    if kind == 'dtype':
        return tensor.to(getattr(torch, how[0]))
    forms = {'None': None, 'list': tensor.tolist(), 'float': 1.0}
    if how[0] in forms:
        return forms[how[0]]
    return tensor.to('meta') if how[0] == 'meta' else tensor.to_sparse()


def wild(names, draw):
    """Valid arguments, one or two of them changed."""
    inputs = fused_inputs(**SIZES) if names is FUSED else unfused_inputs(**SIZES)
    inputs[-2] = inputs[-2] + 0.0123  # away from whole pixels of the other level, too
    arguments = dict(zip(names, inputs, strict=True), spatial_shapes=SHAPES)
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        if name == 'spatial_shapes':
            arguments[name] = draw(st.one_of(LEVELS, ODD_LEVELS))
        else:
            arguments[name] = changed(arguments[name], draw(TENSORS))
    return arguments


def assert_right(got, wanted, *, tolerance):
    """Equal to a tolerance, or to the rounding of 16 bits where arguments were changed to those."""
    assert got.shape == wanted.shape
    close = max(tolerance, torch.finfo(got.dtype).eps)
    torch.testing.assert_close(got.double(), wanted, rtol=close, atol=close)


def flat(shapes):
    return [size for pair in shapes for size in pair]


relaxed = dict(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.parametrize('names', [FUSED, UNFUSED], ids=['fused', 'unfused'])
@settings(max_examples=400, **relaxed)
@given(data=st.data())
def test_functions_name_the_argument_or_give_the_right_numbers(names, data):
    arguments = wild(names, data.draw)
    function = ms_deform_attn_fused if names is FUSED else ms_deform_attn
    plain = reference.attend_fused if names is FUSED else reference.attend
    message = None
    try:
        out = function(**arguments)
    except (ValueError, TypeError) as error:
        message = str(error)
    if message is not None:
        assert any(name in message for name in names), message
        return
    value, shapes, *rest = arguments.values()
    expected = plain(*to_double([value, flat(shapes), *rest]))
    assert_right(out, expected, tolerance=1e-5)


@pytest.mark.parametrize('names', [FUSED, UNFUSED], ids=['fused', 'unfused'])
@settings(max_examples=400, **relaxed)
@given(data=st.data())
def test_operators_raise_or_give_the_right_numbers(names, data):
    """Whoever calls torch.ops.msda directly is checked by the kernels' binding, or by ours."""
    arguments = wild(names, data.draw)
    name = 'attend_fused' if names is FUSED else 'attend'
    value, shapes, *rest = arguments.values()
    with contextlib.suppress(TypeError):
        shapes = flat(shapes)
    grad = grad_for(torch.zeros(2, 1, 2, 4), 3)
    if data.draw(st.booleans()):
        grad = changed(grad, data.draw(TENSORS))
    for attempt, tried in (
        (name, [value, shapes, *rest]),
        (f'{name}_backward', [grad, value, shapes, *rest]),
    ):
        try:
            results = getattr(compiled, attempt)(*tried)
        except (RuntimeError, TypeError, ValueError, OverflowError):
            continue
        results = results if isinstance(results, tuple) else (results,)
        expected = getattr(reference, attempt)(*to_double(tried))
        expected = expected if isinstance(expected, tuple) else (expected,)
        for got, wanted in zip(results, expected, strict=True):
            assert_right(got, wanted, tolerance=1e-4)
