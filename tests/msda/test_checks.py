"""Wrong arguments: an error that names the argument, what it is and what was expected."""

from __future__ import annotations

import pytest
import torch

from msda import MSDeformAttn, ms_deform_attn_fused

SHAPES = [(4, 3), (2, 2)]
B, M, D, LQ, P = 2, 2, 3, 4, 2


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (dict(shapes=[(4, 3), (2, 3)]), ValueError, r'add up to 18 pixels, but value has 16 rows'),
        (dict(shapes=torch.tensor(SHAPES)), TypeError, r'host integers'),
        (dict(shapes=[(4, 3, 1), (2, 2)]), ValueError, r'spatial_shapes must be pairs'),
        (dict(shapes=[4, 3, 2, 2]), ValueError, r'spatial_shapes must be pairs'),
        (dict(shapes=None), ValueError, r'spatial_shapes must be pairs'),
        (dict(shapes=[(4.0, 3), (2, 2)]), TypeError, r'spatial_shapes\[0\] holds 4.0'),
        (dict(shapes=[(-4, -3), (2, 2)]), ValueError, r'spatial_shapes\[0\] holds -4'),
        (dict(shapes=[(2**32, 2**32), (4, 4)]), ValueError, r'holds 4294967296'),
        (dict(value=[1.0]), TypeError, r'value must be a torch.Tensor; got list'),
        (dict(logits=None), TypeError, r'attention_logits must be a torch.Tensor'),
        (dict(value=torch.zeros(B, 16, M, D).int()), TypeError, r'value has dtype torch.int32'),
        (dict(value=torch.zeros(B, 16, M, D).to_sparse()), TypeError, r'value has layout'),
        (dict(value=torch.zeros(B, 16, M + 1, D)), ValueError, r'sampling_offsets has shape'),
        (dict(value=torch.zeros(B + 1, 16, M, D)), ValueError, r'sampling_offsets has shape'),
        (dict(value=torch.zeros(B, 16, M * D)), ValueError, r'value has shape'),
        (dict(offsets=torch.zeros(B, LQ, M, 2, P)), ValueError, r'sampling_offsets has shape'),
        (dict(reference=torch.zeros(1, LQ, 1, 3)), ValueError, r'reference_points has shape'),
        (dict(logits=torch.zeros(B, LQ, M, 7)), ValueError, r'attention_logits has shape'),
        (dict(logits=torch.zeros(B, LQ, M, 4).half()), TypeError, r'attention_logits has dtype'),
        (dict(logits=torch.zeros(B, LQ, M, 4).cfloat()), TypeError, r'attention_logits has dtype'),
        (dict(reference=torch.zeros(1, LQ, 1, 2).half()), TypeError, r'reference_points has dtype'),
        (
            dict(offsets=torch.zeros(B, LQ, M, 2, P, 2, device='meta')),
            ValueError,
            r'sampling_offsets is on meta',
        ),
    ],
)
def test_names_the_argument_that_is_wrong(change, error, message):
    arguments = dict(
        value=torch.zeros(B, 16, M, D),
        shapes=SHAPES,
        reference=torch.zeros(1, LQ, 1, 2),
        offsets=torch.zeros(B, LQ, M, 2, P, 2),
        logits=torch.zeros(B, LQ, M, 4),
    )
    with pytest.raises(error, match=message):
        ms_deform_attn_fused(*{**arguments, **change}.values())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(query=torch.zeros(5, 12)), r'query has shape \(5, 12\)'),
        (dict(query=torch.zeros(2, 5, 11)), r'd_model=12 channels'),
        (dict(query=torch.zeros(3, 5, 12)), r'must be of one batch'),
        (dict(shapes=[(4, 4)]), r'has 1 levels; expected n_levels=2'),
        (dict(feat=torch.zeros(2, 15, 12)), r'feat has shape \(2, 15, 12\).* add up to 16 pixels'),
        (dict(mask=torch.zeros(2, 15).bool()), r'padding_mask has shape \(2, 15\)'),
        (dict(mask=torch.zeros(2, 16)), r'padding_mask is torch.float32'),
        (dict(mask=[0]), r'padding_mask must be a torch.Tensor; got list'),
        (dict(query=None), r'query must be a torch.Tensor; got NoneType'),
        (dict(shapes=None), r'spatial_shapes must be pairs'),
        (dict(shapes=torch.tensor(SHAPES)), r'host integers'),
        (dict(reference=None), r'reference_points must be a torch.Tensor'),
    ],
)
def test_module_names_the_argument_that_is_wrong(change, message):
    module = MSDeformAttn(12, 2, n_heads=3, n_points=2, ratio=0.5)
    query, feat = torch.randn(2, 5, 12), torch.randn(2, 16, 12)
    reference = torch.rand(1, 5, 1, 2)
    arguments = dict(query=query, reference=reference, feat=feat, shapes=SHAPES, mask=None)
    with pytest.raises((ValueError, TypeError), match=message):
        module(*{**arguments, **change}.values())


@pytest.mark.parametrize('size', ['n_heads', 'n_points', 'ratio'])
def test_module_sizes_must_be_positive(size):
    with pytest.raises(ValueError, match=f'{size}=0'):
        MSDeformAttn(12, 1, **{size: 0})


def test_module_sizes_must_be_integers():
    with pytest.raises(ValueError, match='n_heads=2.0; it must be an integer'):
        MSDeformAttn(12, 1, n_heads=2.0)


def test_autocast_does_not_hide_wrong_dtypes():
    """It brings the floating dtypes together, but for float64, and knows no others."""
    value, offsets = torch.zeros(B, 16, M, D).double(), torch.zeros(B, LQ, M, 2, P, 2).double()
    reference, logits = torch.zeros(1, LQ, 1, 2).double(), torch.zeros(B, LQ, M, 2 * P).double()
    with torch.autocast('cpu', torch.bfloat16):
        out = ms_deform_attn_fused(value, SHAPES, reference, offsets, logits)
        assert out.dtype == torch.float64
        with pytest.raises(TypeError, match='attention_logits has dtype torch.float32, but value'):
            ms_deform_attn_fused(value, SHAPES, reference, offsets, logits.float())
        with pytest.raises(TypeError, match='sampling_offsets has dtype torch.float64'):
            ms_deform_attn_fused(value.float(), SHAPES, reference.float(), offsets, logits.float())
        with pytest.raises(TypeError, match='sampling_offsets has dtype torch.int64'):
            ms_deform_attn_fused(value, SHAPES, reference, offsets.long(), logits)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match='n_heads=5 does not divide'):
        MSDeformAttn(12, 1, n_heads=5)
