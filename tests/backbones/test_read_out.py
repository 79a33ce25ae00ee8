"""What a classifier reads of a plain ViT, and its neck."""

from __future__ import annotations

import pytest
import timm
import torch

from vitadapter_dense import ReadOut, TokenReadOut

ENCODER = dict(
    type='TimmViT',
    model_name='vit_tiny_patch16_224',
    img_size=64,
    embed_dim=32,
    depth=2,
    num_heads=2,
)
PROMPTS = dict(type='VisualPromptTuning', num_tokens=3, deep=True)


def timm_twin(read_out: TokenReadOut, pool: str) -> torch.nn.Module:
    """timm's own model with the weights of an encoder."""
    options = {key: ENCODER[key] for key in ('img_size', 'embed_dim', 'depth', 'num_heads')}
    twin = timm.create_model(
        ENCODER['model_name'], num_classes=0, global_pool=pool, fc_norm=False, **options
    )
    state = read_out.encoder.state_dict()
    keys = twin.load_state_dict(state, strict=False)
    assert not keys.unexpected_keys
    assert set(keys.missing_keys) <= ({'cls_token'} if pool == 'avg' else set())
    return twin.eval()


@pytest.mark.parametrize(('source', 'pool'), [('cls', 'token'), ('average', 'avg')])
def test_read_out_is_timms(source: str, pool: str) -> None:
    encoder = dict(ENCODER, keep_prefix_tokens=True)
    read_out = TokenReadOut(encoder, source).eval()
    torch.nn.init.normal_(read_out.encoder.norm.weight)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(read_out(images)[0], timm_twin(read_out, pool)(images))
        assert read_out(torch.randn(1, 3, 50, 77))[0].shape == (1, 32)


def test_prompts_are_read_and_every_source_is_asked_for_when_built() -> None:
    read_out = TokenReadOut(ENCODER, 'prompts', tuning=PROMPTS).eval()
    images = torch.randn(2, 3, 64, 64)
    before = read_out(images)[0]
    before.square().mean().backward()
    assert read_out.tuning.tokens[-1].grad.abs().sum() > 0
    tokens = read_out.encoder.run_through(images, [1])[0]
    normed = read_out.encoder.normed(tokens.prompts)
    assert tokens.prompts.shape == (2, 3, 32)
    assert tokens.num_prefix == 0
    torch.testing.assert_close(before, normed.mean(dim=1))
    assert not read_out.encoder.norm.weight.requires_grad
    partial = TokenReadOut(ENCODER, tuning=dict(type='PartialTuning'))
    trains = {name.split('.')[1] for name, p in partial.named_parameters() if p.requires_grad}
    assert trains == {'blocks', 'norm'}

    with pytest.raises(ValueError, match="source='mean'"):
        TokenReadOut(ENCODER, 'mean')
    with pytest.raises(ValueError, match='no method of this read-out leaves prompts'):
        TokenReadOut(ENCODER, 'prompts')
    with pytest.raises(ValueError, match='no method of this read-out leaves prompts'):
        TokenReadOut(ENCODER, 'prompts', tuning=dict(PROMPTS, location='add'))
    without = dict(ENCODER, class_token=False, global_pool='avg')
    with pytest.raises(ValueError, match='has no CLS token'):
        TokenReadOut(without, 'cls')


def test_neck_averages_and_has_layers() -> None:
    neck = ReadOut(4, num_layers=2, dropout=0.0)
    maps = (torch.randn(3, 8, 9, 9), torch.randn(3, 4, 2, 5))
    average = maps[-1].mean(dim=(2, 3))
    torch.testing.assert_close(ReadOut(4)(maps)[0], average)
    torch.testing.assert_close(ReadOut(4)((average,))[0], average)
    torch.testing.assert_close(neck(maps)[0], neck((average,))[0])
    assert sum(isinstance(layer, torch.nn.Linear) for layer in neck.layers) == 2
    both = ReadOut((8, 4))(maps)[0]
    torch.testing.assert_close(both, torch.cat([maps[0].mean(dim=(2, 3)), average], dim=1))
    with pytest.raises(ValueError, match='in_channels=4'):
        neck(maps[:1])
    with pytest.raises(ValueError, match=r'in_channels=\(4, 8\)'):
        ReadOut((4, 8))(maps)
    with pytest.raises(ValueError, match='num_layers=-1'):
        ReadOut(4, num_layers=-1)
