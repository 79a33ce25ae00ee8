"""The reference, and what serves in its place, against a direct loop in float64 without
``grid_sample``."""

from __future__ import annotations

import math

import pytest
import torch

from tests.msda.backends import both, compiled, flat, fused_inputs, oracle

SHAPES = [(5, 7), (3, 2)]
CHANNELS = [1, 4, 12, 30, 32, 40, 64, 71, 128]


def make_inputs(
    dtype=torch.float64, *, shapes=SHAPES, batch=2, queries=4, heads=3, channels=5, points=2
):
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    levels, rows = len(shapes), sum(h * w for h, w in shapes)
    value = rand(batch, rows, heads, channels) - 0.5
    locations = rand(batch, queries, heads, levels, points, 2) * 1.6 - 0.3  # some outside
    weights = rand(batch, queries, heads, levels, points)
    coordinates = torch.float64 if dtype == torch.float64 else torch.float32
    return value.to(dtype), locations.to(coordinates), weights.to(dtype)


@both
def test_equals_the_direct_loop(backend):
    value, locations, weights = make_inputs()
    out = backend.attend(value, flat(SHAPES), locations, weights)
    torch.testing.assert_close(out, oracle(value, SHAPES, locations, weights))


@both
@pytest.mark.parametrize('levels', [1, 3, 4])
@pytest.mark.parametrize('channels', CHANNELS)
def test_equals_the_direct_loop_on_any_size(backend, channels, levels):
    shapes = [(4, 5), (2, 3), (1, 2), (3, 1)][:levels]
    for points in (1, 4, 8):
        inputs = make_inputs(
            shapes=shapes, batch=1, queries=2, heads=2, channels=channels, points=points
        )
        out = backend.attend(inputs[0], flat(shapes), *inputs[1:])
        torch.testing.assert_close(out, oracle(inputs[0], shapes, *inputs[1:]))


@pytest.mark.parametrize('channels', CHANNELS)
def test_gradients_equal_finite_differences_on_any_size(channels):
    """What serves, fused: no reference that samples, no formula for gradients."""
    for shapes, points in (([(4, 5)], 4), ([(4, 5), (2, 3), (1, 2)], 1), ([(2, 3)] * 4, 8)):
        value, sizes, centres, offsets, logits = fused_inputs(
            torch.float64, shapes=shapes, queries=3, heads=2, channels=channels, points=points
        )
        leaves = [tensor.requires_grad_() for tensor in (value, offsets, logits)]
        assert torch.autograd.gradcheck(
            lambda v, o, a, s=sizes, c=centres: compiled.attend_fused(v, s, c, o, a),
            leaves,
            fast_mode=True,
        )


@both
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_dtypes_round_once(backend, dtype):
    value, locations, weights = make_inputs(dtype)
    out = backend.attend(value, flat(SHAPES), locations, weights)
    expected = oracle(value, SHAPES, locations, weights)
    assert out.dtype == dtype
    rounding = max(torch.finfo(dtype).eps, 1e-5)
    torch.testing.assert_close(out.double(), expected, rtol=rounding, atol=1e-6)


@both
@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e30])
def test_locations_that_are_nowhere_count_as_zero(backend, bad):
    value, locations, weights = make_inputs(torch.float32)
    nowhere = locations.clone()
    nowhere[0, 1, 2, 0, 1, 0] = bad
    out = backend.attend(value, flat(SHAPES), nowhere, weights)
    weights_without = weights.clone()
    weights_without[0, 1, 2, 0, 1] = 0
    torch.testing.assert_close(out, backend.attend(value, flat(SHAPES), locations, weights_without))
    grads = backend.attend_backward(torch.ones_like(out), value, flat(SHAPES), nowhere, weights)
    assert all(grad.isfinite().all() for grad in grads)
    assert grads[1][0, 1, 2, 0, 1].eq(0).all()
    assert grads[2][0, 1, 2, 0, 1] == 0


@both
def test_fused_equals_unfused_on_points_and_boxes(backend):
    value, _, _ = make_inputs()
    generator = torch.Generator().manual_seed(1)
    offsets = torch.randn(2, 4, 3, 2, 2, 2, generator=generator, dtype=torch.float64)
    logits = torch.randn(2, 4, 3, 4, generator=generator, dtype=torch.float64)
    weights = logits.softmax(-1).view(2, 4, 3, 2, 2)
    sizes = torch.tensor([[w, h] for h, w in SHAPES], dtype=torch.float64)

    points = torch.rand(1, 4, 1, 2, generator=generator, dtype=torch.float64)
    locations = points[:, :, None, :, None] + offsets / sizes[:, None]
    out = backend.attend_fused(value, flat(SHAPES), points, offsets, logits)
    torch.testing.assert_close(out, oracle(value, SHAPES, locations, weights))

    boxes = torch.rand(2, 4, 2, 4, generator=generator, dtype=torch.float64)
    centres, extents = boxes[:, :, None, :, None, :2], boxes[:, :, None, :, None, 2:]
    locations = centres + offsets / 2 * extents * 0.5
    out = backend.attend_fused(value, flat(SHAPES), boxes, offsets, logits)
    torch.testing.assert_close(out, oracle(value, SHAPES, locations, weights))


@both
def test_empty_batch_queries_and_level(backend):
    value, locations, weights = make_inputs()
    assert backend.attend(value[:0], flat(SHAPES), locations[:0], weights[:0]).shape == (0, 4, 15)
    assert backend.attend(value, flat(SHAPES), locations[:, :0], weights[:, :0]).shape == (2, 0, 15)
    with_empty = [SHAPES[0], (0, 4), SHAPES[1]]
    locations = torch.cat([locations[:, :, :, :1], locations], dim=3)
    weights = torch.cat([weights[:, :, :, :1], weights], dim=3)
    out = backend.attend(value, flat(with_empty), locations, weights)
    kept = [0, 2]
    expected = oracle(value, SHAPES, locations[:, :, :, kept], weights[:, :, :, kept])
    torch.testing.assert_close(out, expected)
