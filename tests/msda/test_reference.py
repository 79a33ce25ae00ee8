"""The reference against a direct loop in float64 that knows nothing of ``grid_sample``."""

from __future__ import annotations

import math

import pytest
import torch

from msda import ms_deform_attn, ms_deform_attn_fused

SHAPES = [(5, 7), (3, 2)]


def oracle(value, spatial_shapes, locations, weights):
    """One sample at a time, by the definition: bilinear, zeros outside, centres at half
    integers."""
    batch, _, heads, channels = value.shape
    _, queries, _, levels, points, _ = locations.shape
    output = torch.zeros(batch, queries, heads, channels, dtype=torch.float64)
    for b in range(batch):
        for q in range(queries):
            for m in range(heads):
                start = 0
                for level in range(levels):
                    height, width = spatial_shapes[level]
                    for p in range(points):
                        x = float(locations[b, q, m, level, p, 0]) * width - 0.5
                        y = float(locations[b, q, m, level, p, 1]) * height - 0.5
                        if not (math.isfinite(x) and math.isfinite(y)):
                            continue
                        for row in (math.floor(y), math.floor(y) + 1):
                            for column in (math.floor(x), math.floor(x) + 1):
                                if 0 <= row < height and 0 <= column < width:
                                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                                    pixel = value[b, start + row * width + column, m]
                                    weight = float(weights[b, q, m, level, p])
                                    output[b, q, m] += weight * share * pixel.double()
                    start += height * width
    return output.flatten(2)


def make_inputs(dtype=torch.float64, *, batch=2, queries=4, heads=3, channels=5, points=2):
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    levels, rows = len(SHAPES), sum(h * w for h, w in SHAPES)
    value = rand(batch, rows, heads, channels) - 0.5
    locations = rand(batch, queries, heads, levels, points, 2) * 1.6 - 0.3  # some outside
    weights = rand(batch, queries, heads, levels, points)
    coordinates = torch.float64 if dtype == torch.float64 else torch.float32
    return value.to(dtype), locations.to(coordinates), weights.to(dtype)


def test_equals_the_direct_loop():
    value, locations, weights = make_inputs()
    out = ms_deform_attn(value, SHAPES, locations, weights)
    torch.testing.assert_close(out, oracle(value, SHAPES, locations, weights))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_dtypes_round_once(dtype):
    value, locations, weights = make_inputs(dtype)
    out = ms_deform_attn(value, SHAPES, locations, weights)
    expected = oracle(value, SHAPES, locations, weights)
    assert out.dtype == dtype
    rounding = max(torch.finfo(dtype).eps, 1e-5)
    torch.testing.assert_close(out.double(), expected, rtol=rounding, atol=1e-6)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e30])
def test_locations_that_are_nowhere_count_as_zero(bad):
    value, locations, weights = make_inputs(torch.float32)
    nowhere = locations.clone()
    nowhere[0, 1, 2, 0, 1, 0] = bad
    value.requires_grad_()
    out = ms_deform_attn(value, SHAPES, nowhere, weights)
    weights_without = weights.clone()
    weights_without[0, 1, 2, 0, 1] = 0
    torch.testing.assert_close(out, ms_deform_attn(value, SHAPES, locations, weights_without))
    assert torch.autograd.grad(out.sum(), value)[0].isfinite().all()


def test_fused_equals_unfused_on_points_and_boxes():
    value, _, _ = make_inputs()
    generator = torch.Generator().manual_seed(1)
    offsets = torch.randn(2, 4, 3, 2, 2, 2, generator=generator, dtype=torch.float64)
    logits = torch.randn(2, 4, 3, 4, generator=generator, dtype=torch.float64)
    weights = logits.softmax(-1).view(2, 4, 3, 2, 2)
    sizes = torch.tensor([[w, h] for h, w in SHAPES], dtype=torch.float64)

    points = torch.rand(1, 4, 1, 2, generator=generator, dtype=torch.float64)
    locations = points[:, :, None, :, None] + offsets / sizes[:, None]
    out = ms_deform_attn_fused(value, SHAPES, points, offsets, logits)
    torch.testing.assert_close(out, oracle(value, SHAPES, locations, weights))

    boxes = torch.rand(2, 4, 2, 4, generator=generator, dtype=torch.float64)
    centres, extents = boxes[:, :, None, :, None, :2], boxes[:, :, None, :, None, 2:]
    locations = centres + offsets / 2 * extents * 0.5
    out = ms_deform_attn_fused(value, SHAPES, boxes, offsets, logits)
    torch.testing.assert_close(out, oracle(value, SHAPES, locations, weights))


def test_empty_batch_queries_and_level():
    value, locations, weights = make_inputs()
    assert ms_deform_attn(value[:0], SHAPES, locations[:0], weights[:0]).shape == (0, 4, 15)
    assert ms_deform_attn(value, SHAPES, locations[:, :0], weights[:, :0]).shape == (2, 0, 15)
    with_empty = [SHAPES[0], (0, 4), SHAPES[1]]
    locations = torch.cat([locations[:, :, :, :1], locations], dim=3)
    weights = torch.cat([weights[:, :, :, :1], weights], dim=3)
    out = ms_deform_attn(value, with_empty, locations, weights)
    kept = [0, 2]
    expected = oracle(value, SHAPES, locations[:, :, :, kept], weights[:, :, :, kept])
    torch.testing.assert_close(out, expected)
