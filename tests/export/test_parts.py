"""The parts of an export: deformable attention taken apart, forms that trace, sizes."""

from __future__ import annotations

import pytest
import torch
from timm.layers import RotaryEmbeddingDinoV3
from torch import nn
from torch.nn import functional as F

from msda import ms_deform_attn, ms_deform_attn_fused
from vitadapter_dense.adapter.geometry import Geometry, Level
from vitadapter_dense.export.deformable_attention import TakenApart
from vitadapter_dense.export.graphs import graph_of
from vitadapter_dense.export.programs import ExportError, check_format, trace
from vitadapter_dense.export.sizes import Sizes
from vitadapter_dense.export.substitutes import traceable

LEVELS = [(5, 7), (3, 2), (1, 1)]


@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('gather', [False, True])
def test_taken_apart_computes_what_the_operators_do(gather, batch):
    """Outside of the maps too, and far outside; of one image, too, whose heads are not copied."""
    torch.manual_seed(0)
    rows = sum(height * width for height, width in LEVELS)
    value = torch.randn(batch, rows, 3, 4)
    locations = torch.randn(batch, 6, 3, 3, 2, 2) + 0.5
    locations[0, 0] = 1e9
    weights = torch.rand(batch, 6, 3, 3, 2)
    fused = (torch.rand(1, 6, 1, 2), torch.randn(batch, 6, 3, 3, 2, 2), torch.randn(batch, 6, 3, 6))
    expected = ms_deform_attn(value, LEVELS, locations, weights)
    expected_fused = ms_deform_attn_fused(value, LEVELS, *fused)
    calls = []
    with TakenApart(gather=gather) as apart:
        sample = apart.sample
        apart.sample = lambda *args: calls.append(1) or sample(*args)
        found = ms_deform_attn(value, LEVELS, locations, weights)
        found_fused = ms_deform_attn_fused(value, LEVELS, *fused)
    assert len(calls) == 2 * len(LEVELS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found_fused, expected_fused, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('padding_mode', ['zeros', 'border'])
def test_no_grid_is_sampled_where_gathers_are_asked_for(padding_mode, monkeypatch):
    torch.manual_seed(0)
    options = dict(padding_mode=padding_mode, align_corners=False)
    image, grid = torch.randn(2, 3, 5, 7), torch.randn(2, 4, 6, 2)
    expected = F.grid_sample(image, grid, **options)
    monkeypatch.setattr(torch, 'grid_sampler', None)
    with TakenApart(gather=True):
        torch.testing.assert_close(F.grid_sample(image, grid, **options), expected)


@pytest.mark.parametrize('bins', [1, 2, 3, 6, (3, None)])
def test_pooling_that_traces(bins):
    pool = nn.AdaptiveAvgPool2d(bins)
    for size in ((7, 12), (3, 5), (6, 6)):
        x = torch.randn(2, 3, *size)
        expected = pool(x)
        with traceable(pool):
            assert 'forward' in vars(pool)
            torch.testing.assert_close(pool(x), expected, rtol=1e-4, atol=1e-5)
        assert 'forward' not in vars(pool)


@pytest.mark.parametrize('options', [dict(normalize_coords='max'), dict(grid_offset=0.5), {}])
def test_rotary_positions_that_trace(options):
    rope = RotaryEmbeddingDinoV3(16, **options).eval()
    expected = rope.get_embed(shape=[3, 5])
    with traceable(rope):
        torch.testing.assert_close(rope.get_embed(shape=[3, 5]), expected)


class OfEverySize(nn.Module):
    """What silently took the traced size for every size."""

    def __init__(self):
        super().__init__()
        self.rope, self.up = RotaryEmbeddingDinoV3(16), nn.Upsample(scale_factor=2)
        self.pool = nn.AdaptiveAvgPool2d(3)

    def forward(self, images):
        rotation = self.rope.get_embed(shape=list(images.shape[2:]))
        return rotation, self.up(images), self.pool(images), *reference_points_of(images)


def reference_points_of(images):
    levels = [Level.of_image(*images.shape[2:], stride) for stride in (8, 16)]
    geometry = Geometry.of(levels[1], levels[:1], images)
    return geometry.token_points, geometry.pyramid_points


@pytest.mark.parametrize('divisor', [1, 32])
def test_every_size(divisor):
    module, sizes = OfEverySize().eval(), Sizes(divisor=divisor)
    batch, height, width = sizes.traced
    program = trace(module, [torch.rand(batch, 3, height, width)], sizes, apart=None)
    for side in (96, sizes.padded(75)):
        images = torch.rand(1, 3, 64, side)
        found = program.module(check_guards=False)(images)
        for one, other in zip(found, module(images), strict=True):
            torch.testing.assert_close(one, other)


def test_a_size_that_becomes_a_number_is_told():
    class Half(nn.Module):
        def forward(self, images):
            return images * float((images.shape[2] + 15) // 16)

    with pytest.raises(ExportError, match=r'Half cannot be .* takes one for a number: .*== 22'):
        trace(Half().eval(), [torch.rand(2, 3, 352, 416)], Sizes(), apart=None)


def test_deformable_attention_of_mmcv_that_traces():
    attention = pytest.importorskip('mmcv.ops').MultiScaleDeformableAttention
    torch.manual_seed(0)
    module = attention(embed_dims=16, num_heads=2, num_levels=3, num_points=2).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    rows = sum(height * width for height, width in LEVELS)
    query, value = torch.randn(9, 2, 16), torch.randn(rows, 2, 16)
    for coordinates in (2, 4):
        options = dict(value=value, reference_points=torch.rand(2, 9, 3, coordinates))
        expected = module(query, spatial_shapes=torch.tensor(LEVELS), **options)
        with traceable(module):
            found = module(query, spatial_shapes=LEVELS, **options)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_sizes():
    assert Sizes((64, 96)).as_json()['size'] == [64, 96]
    assert Sizes().as_json()['largest'] == 4096
    assert set(Sizes(batches=False, fixed=(64, 64)).dynamic_shapes) == set()
    with pytest.raises(ValueError, match=r'size 500x512.*multiples of 32, as 512x512'):
        Sizes((500, 512))


def test_a_model_without_a_graph_is_named():
    with pytest.raises(ValueError, match='Linear cannot be exported'):
        graph_of(nn.Linear(1, 1))


def test_weights_that_no_onnx_file_holds():
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='needs the extra `export`')
    with pytest.raises(ExportError, match=r'weights are 2\.1 GB.*--format pt2'):
        check_format('onnx', nn.Linear(2**19, 2**10, device='meta'))
    check_format('pt2', nn.Linear(2**19, 2**10, device='meta'))
