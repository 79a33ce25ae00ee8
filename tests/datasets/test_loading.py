"""The image loader: every kind of file as BGR, and no broken one without its name."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

from vitadapter_dense.datasets import DatasetError, LoadImageChecked
from vitadapter_dense.datasets.decoding import decode_image
from vitadapter_dense.datasets.truncation import find_truncation

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope='module')
def picture() -> Image.Image:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    channels = [x * 3, y * 4, 120 + 60 * np.sin(x / 9) * np.cos(y / 7)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def _encode(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _load(path, **results) -> dict:
    return LoadImageChecked()(dict(img_path=str(path), **results))


def test_registered_in_the_root():
    assert TRANSFORMS.get('LoadImageChecked') is LoadImageChecked
    transform = TRANSFORMS.build(dict(type='LoadImageChecked', to_float32=True))
    assert 'to_float32=True' in repr(transform)


def test_same_result_as_mmcv(picture, tmp_path):
    mmcv_transforms = pytest.importorskip('mmcv.transforms')
    path = tmp_path / 'a.jpg'
    path.write_bytes(_encode(picture, 'JPEG'))
    theirs = mmcv_transforms.LoadImageFromFile()(dict(img_path=str(path)))
    ours = _load(path)
    assert ours.keys() == theirs.keys()
    np.testing.assert_array_equal(ours['img'], theirs['img'])
    assert ours['img_shape'] == theirs['img_shape'] == (HEIGHT, WIDTH)
    assert ours['ori_shape'] == theirs['ori_shape']


@pytest.mark.parametrize(
    ('mode', 'kind', 'options', 'tolerance'),
    [
        ('RGB', 'JPEG', dict(quality=95), 4),
        ('RGB', 'JPEG', dict(quality=95, progressive=True), 4),
        ('CMYK', 'JPEG', dict(quality=95), 4),
        ('RGB', 'PNG', {}, 0),
        ('RGBA', 'PNG', {}, 0),
        ('P', 'PNG', {}, 25),
        ('RGB', 'BMP', {}, 0),
        ('RGB', 'WEBP', dict(lossless=True), 0),
        ('CMYK', 'TIFF', {}, 1),
        ('P', 'GIF', {}, 25),
    ],
)
def test_every_kind_becomes_bgr(picture, tmp_path, mode, kind, options, tolerance):
    path = tmp_path / f'a.{kind.lower()}'
    path.write_bytes(_encode(picture.convert(mode), kind, **options))
    image = _load(path)['img']
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - np.asarray(picture)[..., ::-1]).mean() <= tolerance


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_grey_has_three_equal_channels(picture, kind):
    grey = picture.convert('L')
    image = decode_image(_encode(grey, kind), name='grey')
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(image.astype(int) - np.asarray(grey)[..., None]).mean() < 2
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_float(picture, tmp_path):
    (tmp_path / 'a.png').write_bytes(_encode(picture, 'PNG'))
    results = LoadImageChecked(to_float32=True)(dict(img_path=str(tmp_path / 'a.png')))
    assert results['img'].dtype == np.float32


@pytest.mark.parametrize(
    ('kind', 'options'), [('JPEG', {}), ('JPEG', dict(progressive=True)), ('PNG', {}), ('WEBP', {})]
)
def test_every_truncation_is_found(picture, kind, options):
    data = _encode(picture, kind, **options)
    assert find_truncation(data) is None
    for length in range(13, len(data) - 4, max(1, len(data) // 200)):
        assert find_truncation(data[:length]) is not None


def test_half_a_jpeg_is_not_taken(picture, tmp_path):
    """OpenCV takes it when it reads the file itself."""
    data = _encode(picture, 'JPEG')
    path = tmp_path / 'half.jpg'
    path.write_bytes(data[: len(data) * 3 // 4])
    assert cv2.imread(str(path)) is not None
    with pytest.raises(DatasetError, match=r'half\.jpg is cut off .* end-of-image marker'):
        _load(path)


def test_jpeg_with_thumbnail_or_bytes_behind_it(picture):
    data = _encode(picture, 'JPEG')
    assert find_truncation(data + b'\0' * 7) is None
    assert find_truncation(data + b'appended by a camera \xff\xda \xff') is None
    # A thumbnail in the metadata has an end marker of its own.
    thumbnail = _encode(picture.resize((16, 12)), 'JPEG')
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    with_thumbnail = data[:2] + segment + data[2:]
    assert find_truncation(with_thumbnail) is None
    assert find_truncation(with_thumbnail[:-40]) is not None
    assert find_truncation(with_thumbnail[: len(segment) + 20]) is not None


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', r'a\.jpg is empty'),
        (b'x\n', r'a\.jpg cannot be decoded \(2 bytes'),  # too short for some of Pillow's formats
        (b'<html>404</html>', r'a\.jpg cannot be decoded \(16 bytes, starting with 3c 68'),
        (b'\xff\xd8\xff\xe0' + b'\0' * 60 + b'\xff\xd9', r'a\.jpg cannot be decoded'),
    ],
)
def test_broken_file_is_named(tmp_path, data, message):
    (tmp_path / 'a.jpg').write_bytes(data)
    with pytest.raises(DatasetError, match=message + '.*Fetch the file again'):
        _load(tmp_path / 'a.jpg')


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r'nowhere\.jpg cannot be read'):
        _load(tmp_path / 'nowhere.jpg')


def test_size_must_be_the_annotated_one(picture, tmp_path):
    (tmp_path / 'a.png').write_bytes(_encode(picture, 'PNG'))
    assert _load(tmp_path / 'a.png', height=HEIGHT, width=WIDTH)['img_shape'] == (HEIGHT, WIDTH)
    with pytest.raises(DatasetError, match=r'is 64 x 48 pixels, but its annotations are for 48 x'):
        _load(tmp_path / 'a.png', height=WIDTH, width=HEIGHT)


class _Files:
    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return _load(self.paths[index])['img']


def test_error_comes_out_of_a_worker_as_it_is(tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8 cut off')
    with pytest.raises(DatasetError, match=r'broken\.jpg is cut off'):
        list(DataLoader(_Files([str(tmp_path / 'broken.jpg')]), num_workers=1))


def test_real_photographs_are_whole(real_data):
    files = sorted((real_data / 'coco_tiny').glob('*/*.jpg'))
    assert files
    for file in files:
        assert find_truncation(file.read_bytes()) is None
