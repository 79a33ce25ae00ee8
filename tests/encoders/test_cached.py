"""Features kept on the disk: the same numbers, found again by content, complete or not at all."""

from __future__ import annotations

import pytest
import torch

from vitadapter_dense.backbones import SimplePyramid, ViTAdapter
from vitadapter_dense.checkpoints import WeightsError, load_checked
from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.encoders.cached import CachedEncoder
from vitadapter_dense.encoders.feature_folder import image_key

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
    assert len(list(tmp_path.glob('*.safetensors'))) == 2

    model = adapter(dict(type='CachedEncoder', encoder=ENCODER, folder=tmp_path)).train()
    model.vit_feature = vit_feature
    model.load_state_dict(state, strict=True)
    for block in model.encoder.encoder.blocks:
        block.register_forward_pre_hook(lambda *_: pytest.fail('the encoder ran'))
    for output, reference in zip(model(images), expected, strict=True):
        torch.testing.assert_close(output, reference)
    sum(output.square().mean() for output in model(images)).backward()
    assert not model.encoder.training
    back = adapter(ENCODER)  # a checkpoint of training with kept features fits the plain model
    assert load_checked(back, model.state_dict()).share == 1
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), model.parameters()))


def test_an_image_that_is_not_there_goes_through_the_encoder(tmp_path):
    encoder = CachedEncoder(dict(ENCODER), tmp_path, write=True)
    images = torch.randn(3, 3, 64, 64)
    encoder.embed(images[:1])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    tokens = encoder.run(encoder.embed(images), 0, 4)
    assert len(list(tmp_path.glob('*.safetensors'))) == 3
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


def test_a_simple_pyramid_takes_kept_features_too(tmp_path):
    plain = SimplePyramid(dict(ENCODER)).eval()
    kept = CachedEncoder(plain.encoder, tmp_path, write=True, dtype='float32')
    images = torch.randn(1, 3, 64, 80)
    expected = plain(images)
    plain.encoder = kept
    for output, reference in zip(plain(images), expected, strict=True):
        torch.testing.assert_close(output, reference)
    plain.double()  # another type of numbers: kept features come in that of the images
    for output, reference in zip(plain(images.double()), expected, strict=True):
        torch.testing.assert_close(output.float(), reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(model_name='deit_tiny_patch16_224'), 'model_name vit_tiny_patch16_224 .here deit'),
        (dict(keep_prefix_tokens=False), r'num_prefix 1 \(here 0\)'),
        (dict(window_sizes=[2, 2, 2, 2]), r'window_sizes .*\(here \[2, 2, 2, 2\]\)'),
        ({}, 'weights [0-9a-f]+ .here [0-9a-f]+'),
    ],
)
def test_features_of_another_encoder_are_refused(tmp_path, change, message):
    first = CachedEncoder(dict(ENCODER), tmp_path, write=True)
    images = torch.randn(1, 3, 64, 64)
    first.embed(images)
    other = TimmViT(**{key: value for key, value in {**ENCODER, **change}.items() if key != 'type'})
    if change:
        other.load_state_dict(first.encoder.state_dict(), strict=False)
    before = sorted(tmp_path.iterdir())
    for write in (False, True):
        with pytest.raises(ValueError, match=f'are of another encoder: (?s:.*){message}'):
            CachedEncoder(other, tmp_path, write=write).embed(images)
    assert sorted(tmp_path.iterdir()) == before
    first.load_state_dict(other.state_dict(), strict=False)  # the same encoder with other weights
    if not change:
        with pytest.raises(ValueError, match='another encoder: weights'):
            first.embed(images)


def test_training_asks_for_every_image_and_evaluation_does_not(tmp_path):
    model = adapter(dict(type='CachedEncoder', encoder=ENCODER, folder=tmp_path / 'none'))
    images = torch.randn(1, 3, 64, 48)
    with pytest.raises(WeightsError, match=r'64 x 48 pixels is not in .*cache_features.*=True'):
        model.train()(images)
    assert len(model.eval()(images)) == 4
    assert not (tmp_path / 'none').exists()


def test_numbers_too_large_for_the_files_are_refused(tmp_path):
    encoder = CachedEncoder(dict(ENCODER), tmp_path, write=True)
    with torch.no_grad():
        encoder.encoder.blocks[2].mlp.fc2.bias.fill_(1e5)
    with pytest.raises(ValueError, match="after block 2 are not finite in .*float16; .*'bfloat16'"):
        encoder.embed(torch.randn(1, 3, 64, 64))
    assert not list(tmp_path.glob('*.safetensors'))


def test_errors_name_the_mend(tmp_path):
    with pytest.raises(ValueError, match='only features of a frozen encoder'):
        CachedEncoder(dict(ENCODER, frozen=False), tmp_path)
    with pytest.raises(ValueError, match=r'blocks \[1, 4\] must be rising numbers from 0 to 3'):
        CachedEncoder(dict(ENCODER), tmp_path, blocks=[1, 4])
    with pytest.raises(ValueError, match="dtype='int8'; choose 'float16'"):
        CachedEncoder(dict(ENCODER), tmp_path, dtype='int8')
    encoder = CachedEncoder(dict(ENCODER), tmp_path, blocks=[1, 3], write=True)
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(
        ValueError, match=r'no features are kept after block 2, only after \[1, 3\]'
    ):
        encoder.run(encoder.embed(image), 2, 3)
    with pytest.raises(ValueError, match=r'another encoder: blocks \[1, 3\] \(here \[2, 3\]\)'):
        CachedEncoder(encoder.encoder, tmp_path, blocks=[2, 3]).embed(image)
    encoder.kept.file_of(image[0]).write_bytes(b'cut')
    with pytest.raises(ValueError, match='cannot be read .*; delete it'):
        encoder.embed(image)
    (tmp_path / 'encoder.json').write_text('{')
    with pytest.raises(ValueError, match='cannot be read .*; choose another folder'):
        CachedEncoder(encoder.encoder, tmp_path, blocks=[1, 3]).embed(image)
    (tmp_path / 'encoder.json').unlink()  # what is left is nobody's
    with pytest.raises(ValueError, match='is not empty, and encoder.json.*choose another folder'):
        CachedEncoder(encoder.encoder, tmp_path, blocks=[1, 3]).embed(image)
