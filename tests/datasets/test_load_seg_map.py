"""Label maps load as MMSegmentation's do, and every kind of bad map is an error with its name."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vitadapter_dense.datasets import DatasetError, LoadAnnotationsChecked
from vitadapter_dense.datasets.load_seg_map import decode_labels, to_classes


def _png(array: np.ndarray, mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, 'PNG')
    return stream.getvalue()


LABELS = np.array([[0, 1, 2], [3, 150, 255]], np.uint8)


def _results(path, **more) -> dict:
    return dict(img_path='a.jpg', seg_map_path=str(path), ori_shape=(2, 3), seg_fields=[], **more)


@pytest.mark.parametrize('reduced', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 255, 1: 0, 2: 1}])
def test_labels_are_those_of_mmsegmentation(tmp_path, reduced, label_map) -> None:
    theirs = pytest.importorskip('mmseg.datasets.transforms').LoadAnnotations()
    path = tmp_path / 'map.png'
    path.write_bytes(_png(LABELS))
    results = _results(path, reduce_zero_label=reduced, label_map=label_map)
    expected = theirs.transform(dict(results, seg_fields=[]))
    if not (reduced and label_map):  # they rename before they take one off, and lose a class
        found = LoadAnnotationsChecked()(dict(results, seg_fields=[]))
        np.testing.assert_array_equal(found['gt_seg_map'], expected['gt_seg_map'])
        assert found['gt_seg_map'].dtype == np.uint8
        assert found['seg_fields'] == expected['seg_fields'] == ['gt_seg_map']


def test_palette_is_not_looked_at() -> None:
    picture = Image.fromarray(LABELS, mode='P')
    picture.putpalette([7] * 768)
    stream = io.BytesIO()
    picture.save(stream, 'PNG')
    np.testing.assert_array_equal(decode_labels(stream.getvalue(), name='p'), LABELS)


def test_zero_is_ignored_when_the_classes_start_at_one() -> None:
    found = to_classes(LABELS, reduce_zero_label=True, label_map=None)
    assert found.tolist() == [[255, 0, 1], [2, 149, 255]]


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'is empty'),
        (b'\x89PNG\r\n\x1a\n but no more', 'cannot be decoded'),
        (_png(LABELS)[:50], 'cannot be decoded'),
        (_png(np.zeros((2, 3, 3), np.uint8)), 'holds colours'),
        (_png(np.full((2, 3), 256, np.uint16)), 'values from 256 to 256'),
    ],
)
def test_bad_map_is_named(tmp_path, data, message) -> None:
    path = tmp_path / 'bad_map.png'
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=message) as caught:
        LoadAnnotationsChecked()(_results(path))
    assert 'bad_map.png' in str(caught.value)
    assert 'Mend:' in str(caught.value)


def test_missing_map_and_other_size_are_named(tmp_path) -> None:
    path = tmp_path / 'map.png'
    with pytest.raises(DatasetError, match=r'a\.jpg has no label map: .*map\.png'):
        LoadAnnotationsChecked()(_results(path))
    path.write_bytes(_png(LABELS))
    with pytest.raises(DatasetError, match=r'map\.png is 3 x 2 pixels, .* a\.jpg is 2 x 3'):
        LoadAnnotationsChecked()(dict(_results(path), ori_shape=(3, 2)))
    with pytest.raises(DatasetError, match=r'a\.jpg has no label map: the data set names no'):
        LoadAnnotationsChecked()(dict(_results(path), seg_map_path=None))


@pytest.mark.parametrize('bits', [1, 2, 4])
def test_labels_of_less_than_a_byte_are_not_spread(bits) -> None:
    """Pillow makes 0, 85, 170 and 255 of 0 to 3, and 255 is ignored."""
    labels = np.arange(2**bits, dtype=np.uint8)[None].repeat(3, axis=0)
    rows = [
        b'\0' + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:]).tobytes()
        for row in labels
    ]
    header = struct.pack('>IIBBBBB', labels.shape[1], labels.shape[0], bits, 0, 0, 0, 0)
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(b''.join(rows))), (b'IEND', b'')]
    data = b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', zlib.crc32(kind + content))
        for kind, content in chunks
    )
    np.testing.assert_array_equal(decode_labels(data, name='map'), labels)


def test_a_large_map_is_no_bomb(monkeypatch) -> None:
    """Pillow's guard, lowered here, is far below what OpenCV reads as an image."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 2)
    np.testing.assert_array_equal(decode_labels(_png(LABELS), name='map'), LABELS)
    stream = io.BytesIO()
    Image.fromarray(LABELS).save(stream, 'TIFF')
    with pytest.raises(DatasetError, match='TIFF in one piece.*write it again as PNG'):
        decode_labels(stream.getvalue(), name='map')
    monkeypatch.setattr('vitadapter_dense.datasets.image_headers.MAX_PIXELS', 5)
    with pytest.raises(DatasetError, match='3 x 2 pixels, more than 5: cut it.*tiles'):
        decode_labels(_png(LABELS), name='map')


def test_several_maps_in_a_file_are_refused() -> None:
    stream = io.BytesIO()
    picture = Image.fromarray(LABELS)
    picture.save(stream, 'TIFF', save_all=True, append_images=[picture])
    with pytest.raises(DatasetError, match='label map m holds 2 pictures'):
        decode_labels(stream.getvalue(), name='m')
