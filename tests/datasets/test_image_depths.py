"""Depths and channels of image files: read right where that can be known, refused by name if not.

What is right is told by the arrays that the files were written from.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from vitadapter_dense.datasets import DatasetError, LoadImageChecked
from vitadapter_dense.datasets.decoding import decode_image
from vitadapter_dense.datasets.loading import value_range_of

RAMP = np.linspace(0, 1, 48 * 64).reshape(48, 64)


def _cv2(array: np.ndarray, kind: str) -> bytes:
    return cv2.imencode(f'.{kind}', array)[1].tobytes()


def _pil(array: np.ndarray, kind: str, mode: str | None = None, **options) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, kind, **options)
    return stream.getvalue()


def _tiff(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    pytest.importorskip('tifffile').imwrite(stream, array, **options)
    return stream.getvalue()


def _scaled(top: float, dtype: str) -> np.ndarray:
    return (RAMP * top).astype(dtype)


COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


@pytest.mark.parametrize('kind', ['png', 'tiff', 'pgm', 'jp2'])
def test_16_bits_that_are_used_are_read_as_mmcv_reads_them(kind):
    data = _cv2(_scaled(65535, 'u2'), kind)
    ours = decode_image(data, name='a')
    np.testing.assert_array_equal(ours, cv2.imdecode(np.frombuffer(data, np.uint8), 1))
    np.testing.assert_array_equal(ours[..., 1], _scaled(65535, 'u2') >> 8)
    colours = _cv2((COLOURS * 65535).astype('u2'), 'png' if kind == 'pgm' else kind)
    difference = decode_image(colours, name='a').astype(int) - COLOURS * 255
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ('array', 'kind', 'value_range'),
    [
        (_scaled(4095, 'u2'), 'png', (0, 4095)),
        (_scaled(4095, 'u2'), 'tiff', (0, 4095)),
        (_scaled(16383, 'u2'), 'png', (0, 16383)),
        (_scaled(1023, 'i2'), 'tiff', (0, 1023)),
        (_scaled(4095, 'i4'), 'tiff', (0, 4095)),
        (_scaled(2, 'f4') - 1, 'tiff', (-1, 1)),
        (_scaled(1, 'f8'), 'tiff', (0, 1)),
        ((COLOURS * 4095).astype('u2'), 'png', (0, 4095)),
        (COLOURS.astype('f4'), 'tiff', (0, 1)),
        (COLOURS.astype('f4'), 'hdr', (0, 1)),
    ],
)
def test_other_depths_need_a_range_and_are_right_with_it(array, kind, value_range):
    data = _cv2(array, kind)
    with pytest.raises(DatasetError, match=f'a holds .*{array.dtype.name}.*value_range=') as caught:
        decode_image(data, name='a')
    if value_range[0] == 0:  # what is proposed is what was meant
        assert f'value_range={value_range})' in str(caught.value) or kind in ('tiff', 'hdr')
    image = decode_image(data, name='a', value_range=value_range)
    low, high = value_range
    # HDR and, as OpenCV writes it, TIFF keep colours as 8 bits and a power, or a logarithm
    tolerance = 4 if array.ndim == 3 and array.dtype.kind == 'f' else 1
    wanted = (array.astype(float) - low) / (high - low) * 255
    wanted = wanted if wanted.ndim == 3 else wanted[..., None]
    assert image.shape == (48, 64, 3)
    assert np.abs(image - wanted).max() <= tolerance


def test_a_range_changes_no_file_of_8_bits_and_not_the_whole_of_16():
    eight, sixteen = _cv2(_scaled(255, 'u1'), 'png'), _cv2(_scaled(65535, 'u2'), 'png')
    for data, value_range in ((eight, (0, 4095)), (sixteen, (0, 65535))):
        np.testing.assert_array_equal(
            decode_image(data, name='a', value_range=value_range), decode_image(data, name='a')
        )


def test_values_beyond_the_range_and_broken_ones():
    data = _cv2(_scaled(1, 'f4') * 1.2 - 0.1, 'tiff')
    image = decode_image(data, name='a', value_range=(0, 1))
    assert (image.min(), image.max()) == (0, 255)  # a few are clipped
    with pytest.raises(DatasetError, match=r'values from .*98% of them are beyond value_range'):
        decode_image(_cv2(_scaled(4095, 'i4'), 'tiff'), name='a', value_range=(0, 100))
    with pytest.raises(DatasetError, match='not finite'):
        decode_image(_cv2(np.full((4, 4), np.nan, 'f4'), 'tiff'), name='a', value_range=(0, 1))
    for wrong in ((1, 0), (0, 0), (0, float('nan')), (1,)):
        with pytest.raises(ValueError, match='value_range='):
            LoadImageChecked(value_range=wrong)


@pytest.mark.parametrize(
    ('array', 'options', 'message'),
    [
        (np.zeros((8, 9, 2), 'u1'), dict(photometric='minisblack'), '2 channels without colours'),
        (np.zeros((8, 9, 5), 'u1'), dict(photometric='minisblack'), '5 channels without colours'),
        (np.zeros((8, 9, 4), 'u2'), dict(photometric='minisblack'), '4 channels without colours'),
        (np.zeros((5, 8, 9), 'u1'), dict(photometric='minisblack'), 'holds 5 pictures'),
        (np.zeros((8, 9), 'f2'), {}, '16 bits that neither'),
        (np.zeros((8, 9), 'u4'), {}, 'values from 0 to 0'),
    ],
)
def test_tiff_files_that_are_no_picture(array, options, message):
    if array.shape[-1] < 8:
        options = dict(options, planarconfig='contig')
    with pytest.raises(DatasetError, match=message):
        decode_image(_tiff(array, **options), name='a')


def test_smaller_copies_in_a_tiff_are_no_pages():
    tifffile = pytest.importorskip('tifffile')
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(_scaled(255, 'u1'))
        writer.write(_scaled(255, 'u1')[::2, ::2], subfiletype=1)
    assert decode_image(stream.getvalue(), name='a').shape == (48, 64, 3)


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_several_pictures_in_a_file_are_refused(kind):
    frames = [Image.fromarray((COLOURS * top).astype('u1')) for top in (255, 100)]
    stream = io.BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(DatasetError, match='a holds 2 pictures.*save that one'):
        decode_image(stream.getvalue(), name='a')


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'BMP'])
def test_one_bit_is_black_and_white(kind):
    image = decode_image(_pil(RAMP > 0.5, kind), name='a')
    np.testing.assert_array_equal(image[..., 0], (RAMP > 0.5) * np.uint8(255))


@pytest.mark.parametrize(
    ('mode', 'kind'), [('LA', 'PNG'), ('LA', 'TIFF'), ('RGBA', 'TIFF'), ('P', 'TIFF')]
)
def test_transparency_and_palettes_are_read_by_their_colours(mode, kind):
    array = (COLOURS * 255).astype('u1')
    wanted = np.asarray(Image.fromarray(array).convert(mode).convert('RGB'))[..., ::-1]
    np.testing.assert_array_equal(decode_image(_pil(array, kind, mode), name='a'), wanted)


@pytest.mark.parametrize(
    ('data', 'kind'),
    [
        (b'v/1\x01' + b'\0' * 40, 'OpenEXR'),
        (b'\0\0\0\x18ftypheic' + b'\0' * 40, 'HEIC'),
        (b'\0' * 128 + b'DICM' + b'\0' * 40, 'DICOM'),
    ],
)
def test_known_formats_that_no_codec_reads_are_named(data, kind):
    with pytest.raises(DatasetError, match=f'it is {kind}.*Mend: write it as PNG'):
        decode_image(data, name='a')


def test_the_range_stands_in_the_loader_of_a_pipeline(tmp_path):
    (tmp_path / 'a.png').write_bytes(_cv2(_scaled(4095, 'u2'), 'png'))
    step = dict(type='vitadapter_dense.LoadImageChecked', value_range=[0, 4095])
    assert value_range_of([step, dict(type='Resize')]) == (0, 4095)
    assert value_range_of([dict(type='LoadImageFromFile')]) is None
    results = LoadImageChecked(value_range=(0, 4095))(dict(img_path=str(tmp_path / 'a.png')))
    np.testing.assert_array_equal(results['img'][..., 0], _scaled(4095, 'u2') >> 4)


def test_arrays_in_memory_and_the_toolboxes_inferencers_are_no_way_around():
    from mmengine.config import Config

    from vitadapter_dense.inference.predictor import Predictor, inferencer_config

    for array in (COLOURS, np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8)):
        with pytest.raises(ValueError, match='uint8, BGR, got'):
            Predictor.prepare_array(object.__new__(Predictor), array)
    step = dict(type='LoadImageChecked', value_range=(0, 4095))
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='A', pipeline=[step]))))
    with pytest.raises(ValueError, match='knows no value_range'):
        inferencer_config(cfg)
