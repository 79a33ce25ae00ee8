"""Features kept on the disk: the same numbers, found again by content, complete or not at all."""

from __future__ import annotations

import pytest
import torch

from vitadapter_dense.backbones import ViTAdapter
from vitadapter_dense.encoders.cached import CachedEncoder, image_key

ENCODER = dict(
    type='TimmViT',
    model_name='vit_tiny_patch16_224',
    **dict(img_size=64, embed_dim=32, depth=4, num_heads=2, frozen=True, keep_prefix_tokens=True),
)


def adapter(encoder):
    return ViTAdapter(encoder, conv_inplane=4, deform_num_heads=2, injector=False)


@pytest.mark.parametrize('vit_feature', ['last', 'per_stage'])
def test_kept_features_give_the_same_maps_and_spare_the_encoder(tmp_path, vit_feature):
    plain = adapter(ENCODER).train()
    plain.vit_feature = vit_feature
    cached = CachedEncoder(plain.encoder, tmp_path, write=True, dtype='float32')
    images = torch.randn(2, 3, 64, 80)
    expected, state = plain(images), plain.state_dict()
    cached.embed(images)
    assert len(list(tmp_path.iterdir())) == 2

    model = adapter(dict(type='CachedEncoder', encoder=ENCODER, folder=tmp_path)).train()
    model.vit_feature = vit_feature
    own = {f'encoder.{k}' if k.startswith('encoder.') else k: v for k, v in state.items()}
    model.load_state_dict(own)
    for block in model.encoder.encoder.blocks:
        block.register_forward_pre_hook(lambda *_: pytest.fail('the encoder ran'))
    for output, reference in zip(model(images), expected, strict=True):
        torch.testing.assert_close(output, reference)
    sum(output.square().mean() for output in model(images)).backward()
    assert not model.encoder.training


def test_an_image_that_is_not_there_goes_through_the_encoder(tmp_path):
    encoder = CachedEncoder(dict(ENCODER), tmp_path, write=True)
    images = torch.randn(3, 3, 64, 64)
    encoder.embed(images[:1])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    tokens = encoder.run(encoder.embed(images), 0, 4)
    assert len(list(tmp_path.iterdir())) == 3
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    expected = encoder.encoder.run(encoder.encoder.embed(images))
    torch.testing.assert_close(tokens.x, expected.x, rtol=1e-3, atol=1e-2)  # the first is float16
    assert torch.equal(tokens.x[1:], expected.x[1:]) or tokens.x[1:].allclose(
        expected.x[1:], atol=1e-5
    )


def test_names_tell_images_apart():
    image = torch.randn(3, 32, 48)
    other = image.clone()
    other[0, 0, 0] += 1e-3
    assert image_key(image) == image_key(image.clone())
    assert image_key(image) != image_key(other)
    assert image_key(image) != image_key(image.reshape(3, 48, 32))


def test_errors_name_the_mend(tmp_path):
    with pytest.raises(ValueError, match='only features of a frozen encoder'):
        CachedEncoder(dict(ENCODER, frozen=False), tmp_path)
    with pytest.raises(ValueError, match=r'blocks \[1, 4\] must be rising numbers from 0 to 3'):
        CachedEncoder(dict(ENCODER), tmp_path, blocks=[1, 4])
    encoder = CachedEncoder(dict(ENCODER), tmp_path, blocks=[1, 3], write=True)
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(
        ValueError, match=r'no features are kept after block 2, only after \[1, 3\]'
    ):
        encoder.run(encoder.embed(image), 2, 3)
    with pytest.raises(ValueError, match=r'holds blocks \[1, 3\], wanted are \[2, 3\]'):
        CachedEncoder(encoder.encoder, tmp_path, blocks=[2, 3]).embed(image)
    encoder.path_of(image[0]).write_bytes(b'cut')
    with pytest.raises(ValueError, match='cannot be read .*; delete it'):
        encoder.embed(image)
