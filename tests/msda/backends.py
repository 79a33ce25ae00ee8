"""The implementations that the tests hold against each other, and inputs for them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

import msda
from msda import reference

compiled = SimpleNamespace(
    attend=torch.ops.msda.ms_deform_attn,
    attend_backward=torch.ops.msda.ms_deform_attn_backward,
    attend_fused=torch.ops.msda.ms_deform_attn_fused,
    attend_fused_backward=torch.ops.msda.ms_deform_attn_fused_backward,
)


def is_compiled(device='cpu'):
    return msda.backend(device).name == 'compiled'


needs_kernels = pytest.mark.skipif(not is_compiled(), reason=f'msda: {msda.backend()}')
both = pytest.mark.parametrize(
    'backend', [pytest.param(reference, id='reference'), pytest.param(compiled, id='served')]
)


def flat(spatial_shapes):
    return [size for shape in spatial_shapes for size in shape]


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def to_double(arguments):
    """The same numbers in float64."""
    return [a.double() if isinstance(a, torch.Tensor) else a for a in arguments]


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


def fused_inputs(
    dtype=torch.float32,
    *,
    shapes=((5, 7), (3, 2)),
    batch=2,
    queries=21,
    heads=3,
    channels=32,
    points=4,
    reference_size=2,
    seed=0,
    device='cpu',
):
    """Arguments of the fused operator; some points lie outside, none near a whole pixel."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*size):
        return torch.randn(*size, generator=generator)

    levels, rows = len(shapes), sum(h * w for h, w in shapes)
    value = randn(batch, rows, heads, channels).to(dtype)
    centres = torch.rand(1, queries, levels, reference_size, generator=generator)
    if reference_size == 2:  # pixel corners: with the offsets, no position is near an integer
        sizes = torch.tensor([[w, h] for h, w in shapes]).clamp(min=1)
        centres = (centres * sizes).round() / sizes
    offsets = (randn(batch, queries, heads, levels, points, 2) * 2).round() + 0.25
    logits = randn(batch, queries, heads, levels * points)
    arguments = (value, flat(shapes), centres.to(wide(dtype)), offsets.to(dtype), logits.to(dtype))
    return [a.to(device) if isinstance(a, torch.Tensor) else a for a in arguments]


def unfused_inputs(dtype=torch.float32, **kwargs):
    """Arguments of the operator that takes locations."""
    value, shapes, centres, offsets, logits = fused_inputs(dtype, **kwargs)
    locations = reference.sampling_locations(shapes, centres, offsets.to(centres))
    weights = logits.softmax(-1).view(offsets.shape[:-1])
    return [value, shapes, locations, weights]


def grad_for(value, queries, *, seed=1):
    """A gradient of the output."""
    generator = torch.Generator().manual_seed(seed)
    batch, _, heads, channels = value.shape
    return torch.randn(batch, queries, heads * channels, generator=generator).to(value)


def assert_close(actual, expected, *, tolerance, dtype=None):
    """Relative to the largest magnitude, and one rounding of `dtype` besides."""
    assert actual.shape == expected.shape
    assert actual.isfinite().all()
    if actual.numel() == 0:
        return
    scale = expected.abs().max().item()
    rounding = torch.finfo(dtype or actual.dtype).eps
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=rounding, atol=tolerance * scale + 1e-12
    )
