"""BEiT's tables: against timm's index of pairs, and against SciPy's splines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.models.beit import gen_relative_position_index

from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.encoders.relative_position import (
    _geometric_offsets,
    attention_bias,
    resize_table,
    spline_matrix,
    table_rows,
)


@pytest.mark.parametrize('hw', [(3, 5), (4, 4), (1, 6)])
def test_bias_is_the_one_that_an_index_of_pairs_looks_up(hw):
    table = torch.randn(table_rows(hw, with_cls=True), 2, dtype=torch.float64)
    index = gen_relative_position_index(hw)
    expected = table[index].permute(2, 0, 1)[None]
    torch.testing.assert_close(attention_bias(table, hw, 1), expected)
    torch.testing.assert_close(attention_bias(table[:-3], hw, 0), expected[..., 1:, 1:])
    with_prompts = attention_bias(table, hw, 3)
    torch.testing.assert_close(with_prompts[..., 3:, 3:], expected[..., 1:, 1:])
    torch.testing.assert_close(with_prompts[..., :1, 3:], expected[..., :1, 1:])


def test_bias_has_the_gradient_of_a_look_up():
    hw = (3, 4)
    table = torch.randn(table_rows(hw, with_cls=True), 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 2, 13, 13, dtype=torch.float64)
    (attention_bias(table, hw, 1) * weights).sum().backward()
    ours, table.grad = table.grad, None
    (table[gen_relative_position_index(hw)].permute(2, 0, 1)[None] * weights).sum().backward()
    torch.testing.assert_close(ours, table.grad)


@pytest.mark.parametrize(('source', 'target'), [(14, 40), (14, 56), (7, 20), (14, 9), (4, 3)])
def test_tables_are_resampled_as_scipy_does_it(source, target):
    """The original: a cubic interpolating spline of FITPACK on the geometric grid."""
    interpolate = pytest.importorskip('scipy.interpolate')
    size, wanted = 2 * source - 1, 2 * target - 1
    table = torch.randn(size * size + 3, 2, generator=torch.Generator().manual_seed(0))
    offsets = _geometric_offsets(size, wanted)
    at = np.arange(wanted) - wanted // 2
    expected = []
    for values in table[:-3].double().t():
        spline = interpolate.RectBivariateSpline(offsets, offsets, values.view(size, size), s=0)
        reach = np.clip(at, offsets[0], offsets[-1])  # beyond its grid, interp2d keeps the border
        expected.append(torch.from_numpy(spline(reach, reach)).flatten())
    resized = resize_table(table, (source, source), (target, target))
    torch.testing.assert_close(resized[:-3].double(), torch.stack(expected, 1), rtol=0, atol=2e-5)
    assert torch.equal(resized[-3:], table[-3:])


def test_the_geometric_grid_reaches_the_border_and_is_dense_within():
    offsets = _geometric_offsets(27, 111)
    steps = np.diff(offsets)[13:]
    assert offsets[13] == 0
    assert offsets[14] == 1
    assert offsets[-1] == pytest.approx(55, abs=1e-3)
    assert np.allclose(steps[1:] / steps[:-1], steps[1])
    assert np.array_equal(offsets, -offsets[::-1])


@pytest.mark.parametrize('nodes', [1, 2, 3, 5, 9])
def test_a_spline_goes_through_its_nodes_and_repeats_polynomials(nodes):
    x = np.sort(np.random.default_rng(0).uniform(-1, 1, nodes))
    assert np.allclose(spline_matrix(x, x), np.eye(nodes))
    at = np.linspace(x[0], x[-1], 7)
    for degree in range(min(4, nodes)):
        assert np.allclose(spline_matrix(x, at) @ x**degree, at**degree)


def build(**overrides):
    small = dict(img_size=64, embed_dim=32, depth=2, num_heads=2)
    return TimmViT('beit_base_patch16_224', **{**small, **overrides})


def test_tables_of_other_sizes_are_brought_to_ours_while_loading():
    """Larger, with rows for CLS, shared by the blocks, with the index of pairs."""
    source = build(img_size=96, keep_prefix_tokens=True)
    state_dict = dict(source.state_dict())
    table = torch.randn(11 * 11 + 3, 2)
    for index in range(2):
        del state_dict[f'blocks.{index}.attn.relative_position_bias_table']
    state_dict['rel_pos_bias.relative_position_bias_table'] = table
    state_dict['rel_pos_bias.relative_position_index'] = torch.zeros(37, 37, dtype=torch.long)
    del state_dict['cls_token']
    model = build(window_sizes=[3, None])
    model.load_state_dict(state_dict, strict=True)
    for block, side in zip(model.blocks, (3, 4), strict=True):
        expected = resize_table(table[:-3], (6, 6), (side, side))
        torch.testing.assert_close(block.attn.relative_position_bias_table.detach(), expected)


def test_a_table_that_fits_nothing_stays_and_is_reported():
    state_dict = dict(build().state_dict())
    state_dict['blocks.0.attn.relative_position_bias_table'] = torch.zeros(50, 2)
    with pytest.raises(RuntimeError, match=r'size mismatch for blocks\.0.*bias_table'):
        build().load_state_dict(state_dict)
