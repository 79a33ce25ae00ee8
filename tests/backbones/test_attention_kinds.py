"""The attention of injectors and extractors as a choice, and what the ablation leaves out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vitadapter_dense.adapter import Geometry
from vitadapter_dense.adapter.attention import GlobalAttention, StripeAttention
from vitadapter_dense.adapter.geometry import Level
from vitadapter_dense.backbones import PriorPyramid, SimplePyramid, ViTAdapter

VIT = dict(type='TimmViT', model_name='vit_tiny_patch16_224', img_size=64)
VIT |= dict(embed_dim=32, depth=4, num_heads=2)


def geometry(height, width):
    images = torch.zeros(1, 3, height, width)
    levels = [Level.of_image(height, width, stride) for stride in (8, 16, 32)]
    return Geometry.of(Level.of_image(height, width, 16), levels, images)


def inputs(sight):
    """Random queries and features of 16 channels."""
    cells = (sum(level.size for level in levels) for levels in (sight.queries, sight.values))
    return [torch.randn(2, count, 16) for count in cells]


def test_global_attention_is_pytorchs_own():
    own, sight = GlobalAttention(16, 4), geometry(70, 45).from_tokens
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    projections = (own.query_proj, own.key_proj, own.value_proj)
    with torch.no_grad():
        for linear in (*projections, own.output_proj):
            nn.init.normal_(linear.bias)
        theirs.in_proj_weight.copy_(torch.cat([linear.weight for linear in projections]))
        theirs.in_proj_bias.copy_(torch.cat([linear.bias for linear in projections]))
        theirs.out_proj.load_state_dict(own.output_proj.state_dict())
        query, feat = inputs(sight)
        torch.testing.assert_close(own(query, feat, sight), theirs(query, feat, feat)[0])


@pytest.mark.parametrize('hw', [(64, 96), (70, 45), (20, 9)])
@pytest.mark.parametrize('who', ['from_tokens', 'from_pyramid'])
def test_stripes_are_a_mask_on_global_attention(who, hw):
    """Each half of the heads sees what lies in the same 32 rows, or columns, of pixels."""
    own, sight = StripeAttention(16, 4), getattr(geometry(*hw), who)
    query, feat = inputs(sight)

    def bands(levels, axis):
        grids = [torch.meshgrid(*map(torch.arange, level.hw), indexing='ij') for level in levels]
        return torch.cat(
            [
                (grid[axis].flatten() * level.stride + level.stride // 2) // 32
                for grid, level in zip(grids, levels, strict=True)
            ]
        )

    found = []
    with torch.no_grad():
        q, k, v = own.query_proj(query), own.key_proj(feat), own.value_proj(feat)
        for head in range(4):
            mask = bands(sight.queries, head // 2)[:, None] == bands(sight.values, head // 2)
            part = slice(4 * head, 4 * head + 4)
            found.append(
                F.scaled_dot_product_attention(q[..., part], k[..., part], v[..., part], mask)
            )
        expected = own.output_proj(torch.cat(found, dim=-1))
        torch.testing.assert_close(own(query, feat, sight), expected)


def test_what_an_attention_cannot_is_said_first():
    small = dict(conv_inplane=4, deform_num_heads=2)
    with pytest.raises(ValueError, match=r"attention='pale' is unknown; choose one of \('deform"):
        ViTAdapter(VIT, attention='pale', **small)
    with pytest.raises(ValueError, match='stripes of 32 pixels, of which patches of 14'):
        ViTAdapter({**VIT, 'patch_size': 14, 'img_size': 56}, attention='cswin', **small)
    with pytest.raises(ValueError, match='deform_num_heads=1: .* even number'):
        ViTAdapter(VIT, attention='cswin', conv_inplane=4, deform_num_heads=1)
    with pytest.raises(ValueError, match="injection='concat' is unknown"):
        PriorPyramid(VIT, 'concat', conv_inplane=4)


@pytest.mark.parametrize('injection', ['add', 'attention'])
@pytest.mark.parametrize('shape', [(2, 64, 96), (1, 70, 45)])
def test_baseline_with_a_prior(injection, shape):
    """The baseline, to which the prior adds nothing at first (injectors) or where it is 0 (add)."""
    batch, height, width = shape
    model = PriorPyramid(VIT, injection, conv_inplane=4, deform_num_heads=2)
    images = torch.randn(batch, 3, height, width)
    baseline = SimplePyramid(VIT)
    baseline.load_state_dict({k: model.state_dict()[k] for k in baseline.state_dict()})
    outputs, plain = model(images), baseline(images)
    without = injection == 'attention'
    assert all(torch.equal(a, b) == without for a, b in zip(outputs, plain, strict=True))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith('gamma'):
                parameter.fill_(0.5)
            elif injection == 'add' and name.startswith(('level_embed', 'spm.fc')):
                parameter.zero_()
    outputs = model(images)
    assert all(torch.equal(a, b) != without for a, b in zip(outputs, plain, strict=True))
    assert [tuple(o.shape) for o in outputs] == [
        (batch, 32, -(-height // s), -(-width // s)) for s in (4, 8, 16, 32)
    ]
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    assert all(p.grad is not None for p in model.parameters())
