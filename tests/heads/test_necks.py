"""The necks: which levels they take and give, and the extra layer against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitadapter_dense.heads import ChosenLevels, ExtraAttention


def maps(width: int = 8) -> list[torch.Tensor]:
    return [torch.randn(2, width, size, size + 1, requires_grad=True) for size in (12, 6, 3)]


def test_levels_are_left_out_and_pooled():
    pytest.importorskip('mmdet')
    mapper = dict(type='mmdet.ChannelMapper', out_channels=4, kernel_size=1)
    neck = ChosenLevels([8, 8, 8], mapper, start_level=1, num_pooled=1)
    given = maps()
    found = neck(given)
    assert [level.shape[-2:] for level in found] == [(6, 7), (3, 4), (2, 2)]
    for level, (conv, source) in zip(found, zip(neck.neck.convs, given[1:], strict=True)):
        torch.testing.assert_close(level, conv(source))
    assert found[2][0, 0, 0, 0] == found[1][0, 0, :2, :2].max()
    sum(level.sum() for level in found).backward()
    assert given[0].grad is None
    with pytest.raises(ValueError, match='start_level=3 of 3 maps'):
        ChosenLevels([8, 8, 8], mapper, start_level=3)


@pytest.mark.parametrize('with_cp', [False, True])
def test_extra_attention_is_a_transformer_layer_over_the_last_map(with_cp):
    """torch's own layer, whose weights are stacked in the same order."""
    ours = ExtraAttention([8, 8, 8], 4, with_cp=with_cp)
    theirs = nn.TransformerEncoderLayer(
        8, 4, 32, dropout=0.0, activation='gelu', batch_first=True, norm_first=True
    )
    for name, parameter in ours.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        name = name.replace('attn.proj', 'self_attn.out_proj').replace('ffn.fc', 'linear')
        name = name.replace('attn.qkv.', 'self_attn.in_proj_')
        if not name.startswith('final_norm'):
            theirs.get_parameter(name).data.copy_(parameter.data)
    given = maps()
    *finer, last = ours(given)
    assert all(a is b for a, b in zip(finer, given, strict=False))
    tokens = ours.final_norm(theirs(given[-1].flatten(2).transpose(1, 2)))
    torch.testing.assert_close(last.flatten(2).transpose(1, 2), tokens)
    last.square().sum().backward()
    assert given[-1].grad.isfinite().all()
    assert all(parameter.grad is not None for parameter in ours.parameters())
    with pytest.raises(ValueError, match='num_heads=3 does not divide the 8 channels'):
        ExtraAttention([8, 8], 3)
