"""EXIF orientations: images come upright from every format, and who does not fit is told why."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from coco_files import coco_content, write_coco
from PIL import Image, ImageOps

from vitadapter_dense.datasets import DatasetError, LoadAnnotationsChecked, LoadImageChecked
from vitadapter_dense.datasets.check_coco import check_used_dataset
from vitadapter_dense.datasets.check_image_files import check_image_files
from vitadapter_dense.datasets.check_segmentation import inspect_pair
from vitadapter_dense.datasets.dataset_configs import alone
from vitadapter_dense.datasets.decoding import decode_image
from vitadapter_dense.datasets.load_seg_map import decode_labels
from vitadapter_dense.datasets.split_report import inspect_image

PICTURE = np.zeros((40, 60, 3), np.uint8)
PICTURE[:10, :20], PICTURE[-8:, :8] = 255, (255, 0, 0)


def _save(array: np.ndarray, kind: str, orientation: int, **options) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_every_turn_is_applied_in_every_format(kind, orientation):
    options = dict(lossless=True) if kind == 'WEBP' else {}
    data = _save(PICTURE, kind, orientation, **options)
    with Image.open(io.BytesIO(data)) as picture:
        wanted = np.asarray(ImageOps.exif_transpose(picture))[..., ::-1]
    ours = decode_image(data, name='a')
    assert ours.shape == wanted.shape
    assert np.abs(ours.astype(int) - wanted).max() <= 3  # two JPEG decoders
    deep = decode_image(_save(PICTURE[..., 0].astype('u2') * 257, 'PNG', orientation), name='a')
    if kind == 'PNG':
        np.testing.assert_array_equal(deep[..., 0], wanted[..., 2])


def test_values_that_are_no_orientation_are_left_alone():
    for wrong in (0, 9, 77):
        assert decode_image(_save(PICTURE, 'JPEG', wrong), name='a').shape == PICTURE.shape


def _error(function, *args, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        function(*args, **options)
    return str(caught.value)


@pytest.fixture
def turned(tmp_path) -> str:
    path = tmp_path / 'turned.jpg'
    path.write_bytes(_save(PICTURE, 'JPEG', 6))
    return str(path)


@pytest.mark.parametrize('reader', ['loader', 'quick check', 'whole check'])
def test_boxes_of_the_stored_pixels_are_told_of_the_turn(turned, reader):
    message = {
        'loader': lambda: _error(LoadImageChecked(), dict(img_path=turned, width=60, height=40)),
        'quick check': lambda: _error(check_image_files, [turned], sizes=[(60, 40)]),
        'whole check': lambda: inspect_image((turned, 60, 40)).problem,
    }[reader]()
    for part in (
        'turned.jpg is 40 x 60 pixels, but its annotations are for 60 x 40',
        'EXIF orientation 6 (turn it by 90 degrees to the right',
        'Mend: take the orientation out',
    ):
        assert part in message


@pytest.mark.parametrize('reader', ['loader', 'quick check', 'whole check'])
def test_a_map_of_the_stored_pixels_is_told_of_the_turn(turned, tmp_path, reader):
    path = str(tmp_path / 'map.png')
    Image.fromarray(PICTURE[..., 0] // 255).save(path)
    results = dict(img_path=turned, seg_map_path=path, ori_shape=(60, 40))
    message = {
        'loader': lambda: _error(LoadAnnotationsChecked(), results),
        'quick check': lambda: _error(check_image_files, [turned], maps=[path]),
        'whole check': lambda: inspect_pair((turned, path)).problem,
    }[reader]()
    assert 'map.png is 60 x 40 pixels, but its image' in message
    assert 'The image carries the EXIF orientation 6' in message


def test_a_turned_map_is_refused():
    """MMSegmentation does not turn it, viewers do: equal sizes would hide a wrong ground truth."""
    with pytest.raises(DatasetError, match='map carries the EXIF orientation 3 .turn it by 180'):
        decode_labels(_save(PICTURE[..., 0], 'PNG', 3), name='map')


def test_turns_that_no_size_shows_are_a_warning(tmp_path):
    path = tmp_path / 'square.jpg'
    path.write_bytes(_save(PICTURE[:, :40], 'JPEG', 6))
    said = check_image_files([str(path)], sizes=[(40, 40)])
    assert len(said) == 1
    assert 'turned when they are read' in said[0]
    assert 'square.jpg' in said[0]
    assert inspect_image((str(path), 40, 40)).turned


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_the_check_of_a_data_set_hands_on_what_is_turned(task, tmp_path):
    """Logged while it checks, it would miss the log file, which the runner opens later."""
    image = tmp_path / 'images' / '0.jpg'
    if task == 'detection':
        cfg = write_coco(tmp_path, 'images', coco_content([[10, 10, 40, 30]]))
    else:
        cfg = dict(
            type='BaseSegDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='maps'),
            metainfo=dict(classes=('cat', 'dog')),
            pipeline=[],
        )
        (tmp_path / 'maps').mkdir()
        (tmp_path / 'images').mkdir()
        cv2.imwrite(str(tmp_path / 'maps' / '0.png'), np.arange(8000).reshape(80, 100) % 2)
    image.write_bytes(_save(np.zeros((80, 100, 3), np.uint8), 'JPEG', 3))
    said = check_used_dataset(alone(cfg)).warnings
    assert sum('turned when they are read' in text for text in said) == 1


def test_the_quick_check_decodes_what_the_header_does_not_settle(tmp_path):
    good = tmp_path / 'good.png'
    good.write_bytes(_save(PICTURE, 'PNG', 1))
    for name, array in (
        ('dark.png', np.full((40, 60), 4000, 'u2')),
        ('f.tiff', PICTURE[..., 0] / 1),
    ):
        Image.fromarray(array.astype('f4') if name == 'f.tiff' else array).save(tmp_path / name)
        files = [*[str(good)] * 20, str(tmp_path / name)]
        with pytest.raises(DatasetError, match=f'{name} holds .* value_range='):
            check_image_files(files, sizes=[(60, 40)] * 21)
