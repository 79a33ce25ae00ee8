"""What is wrong with images and label maps is found before training, and said in plain words."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('mmseg')

from vitadapter_dense.datasets import DatasetError, check_dataset_config
from vitadapter_dense.datasets.check_segmentation import list_split
from vitadapter_dense.datasets.split_report import report_split

CLASSES = ('ground', 'dark', 'light')


def write(root: Path, *, values=(0, 1, 2), count: int = 3) -> dict:
    """Images of 12 x 16 whose maps hold `values` in equal stripes; their data set's config."""
    (root / 'images').mkdir(parents=True)
    (root / 'maps').mkdir()
    for number in range(count):
        labels = np.repeat(np.asarray(values, np.uint8), 48 // len(values) * 4).reshape(12, 16)
        cv2.imwrite(str(root / 'images' / f'{number}.jpg'), np.full((12, 16, 3), 90, np.uint8))
        cv2.imwrite(str(root / 'maps' / f'{number}.png'), labels)
    return dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='maps'),
        metainfo=dict(classes=CLASSES, palette=[(0, 0, 0), (255, 0, 0), (0, 255, 0)]),
        pipeline=[],
    )


def test_good_split_passes_and_is_counted(tmp_path) -> None:
    cfg = write(tmp_path, values=(0, 1, 2, 255))
    assert check_dataset_config(cfg) == []
    for workers in (1, 2):
        report = report_split(cfg, workers=workers)
        assert report.errors == report.warnings == ()
        assert report.images == 3
        assert report.classes == tuple((name, 3 * 48, 3) for name in CLASSES)
    assert list_split(cfg).pairs[0] == (f'{tmp_path}/images/0.jpg', f'{tmp_path}/maps/0.png')


@pytest.mark.parametrize(
    ('values', 'reduced', 'before', 'report'),
    [
        ((1, 2, 3), False, r'values \[3\], which are no class', 'numbered from 1.*reduce_zero'),
        ((0, 1, 2, 3), False, r'values \[3\]', 'either 0 is .other.*or a class has no name'),
        ((0, 1, 2), True, None, 'every class shifted.*reduce_zero_label=False'),
        ((0, 255), False, 'hold 0 and 255 alone', '255 is the object, write 1'),
        ((0, 1, 2, 77), True, r'values \[77\].*1 to 3, 0 and 255 are ignored', 'value 77 is no'),
    ],
)
def test_numbering_is_explained(tmp_path, values, reduced, before, report) -> None:
    cfg = dict(write(tmp_path, values=values), reduce_zero_label=reduced)
    if before is None:  # a sample of the maps does not show it
        check_dataset_config(cfg)
    else:
        with pytest.raises(DatasetError, match=before) as caught:
            check_dataset_config(cfg)
        assert 'maps/0.png' in str(caught.value)
    errors = ' '.join(report_split(cfg).errors)
    assert re.search(report, errors), errors


@pytest.mark.parametrize(
    ('values', 'reduced', 'said'),
    [
        ((255,), False, r'every pixel is ignored, the maps hold \[255\] alone'),
        ((0,), True, r'every pixel is ignored.*reduce_zero_label=False'),
        ((0, 255), True, 'every pixel is ignored'),
        ((0, 255), False, '255 is the object, write 1'),
    ],
)
def test_maps_that_teach_nothing_are_refused(tmp_path, values, reduced, said) -> None:
    """By a training and by the whole report; one labelled map among many is enough for neither."""
    cfg = dict(write(tmp_path, values=values, count=20), reduce_zero_label=reduced)
    with pytest.raises(DatasetError, match=rf'(?s)maps/0\.png.*{said}'):
        check_dataset_config(cfg)
    (error,) = report_split(cfg).errors
    assert re.search(said, error)
    cv2.imwrite(str(tmp_path / 'maps' / '1.png'), np.full((12, 16), 1, np.uint8))
    check_dataset_config(cfg)  # the second of twenty is not among the first that are looked into
    assert report_split(cfg).errors == ()


@pytest.mark.parametrize(
    ('values', 'reduced', 'mend'),
    [
        ((1, 2), False, 'True'),
        ((1, 2, 3), True, 'False'),
        ((0, 1), True, None),
        ((0,), False, None),
    ],
)
def test_absent_zero_is_a_warning(tmp_path, values, reduced, mend) -> None:
    """Classes from 1 of which the last is absent, and the like, are within the allowed range."""
    cfg = dict(write(tmp_path, values=values), reduce_zero_label=reduced)
    report = report_split(cfg)
    assert report.errors == ()
    said = [line for line in report.warnings if line.startswith('no pixel is 0')]
    assert [f'Mend: reduce_zero_label={mend})' in line for line in said] == [True] * bool(mend)


def test_files_that_do_not_go_together_are_counted_by_kind(tmp_path) -> None:
    cfg = write(tmp_path, count=6)
    (tmp_path / 'maps' / '0.png').unlink()
    cv2.imwrite(str(tmp_path / 'maps' / '1.png'), np.zeros((11, 16), np.uint8))
    (tmp_path / 'maps' / '2.png').write_bytes(b'no picture')
    (tmp_path / 'images' / '3.jpg').write_bytes((tmp_path / 'images' / '3.jpg').read_bytes()[:200])
    with pytest.raises(DatasetError, match=r'1 of 6 label maps are not there: .*0\.png.*Mend'):
        check_dataset_config(cfg)
    report = report_split(cfg)
    said = '\n'.join(report.errors)
    assert '1 x missing, first: label map' in said
    assert '1 x size, first' in said
    assert '1.png is 16 x 11 pixels, but its image' in said
    assert '2 x broken, first: label map' in said
    assert len(report.errors) == 3
    assert report.classes == tuple((name, 2 * 64, 2) for name in CLASSES)

    cv2.imwrite(str(tmp_path / 'maps' / '0.png'), np.zeros((12, 16), np.uint8))
    with pytest.raises(DatasetError, match=r'1\.png is 16 x 11 pixels, but its image .* 16 x 12'):
        check_dataset_config(cfg)


def test_empty_split_and_missing_folder_name_the_mend(tmp_path) -> None:
    cfg = dict(write(tmp_path), img_suffix='.tif')
    with pytest.raises(DatasetError, match=r"split is empty: .*'\.tif'.*img_suffix"):
        check_dataset_config(cfg)
    assert 'split is empty' in report_split(cfg).errors[0]
    cfg = dict(cfg, data_root=str(tmp_path / 'nowhere'))
    with pytest.raises(DatasetError, match='nowhere does not exist'):
        check_dataset_config(cfg)
    assert 'nowhere' in report_split(cfg).errors[0]


def test_files_that_another_ending_leaves_out_are_named(tmp_path) -> None:
    cfg = write(tmp_path, count=3)
    (tmp_path / 'images' / 'new').mkdir()
    (tmp_path / 'images' / '2.jpg').rename(tmp_path / 'images' / 'new' / '2.JPG')
    report = report_split(cfg)
    assert report.images == 2
    assert report.warnings == (
        "images left out, since they do not end with '.jpg' (1): first "
        f'{tmp_path}/images/new/2.JPG.',
        f'label maps without an image (1): first {tmp_path}/maps/2.png.',
    )
    for number in range(2):
        (tmp_path / 'images' / f'{number}.jpg').rename(tmp_path / 'images' / f'{number}.JPG')
    with pytest.raises(DatasetError, match=r"split is empty.*do not end with '\.jpg' \(3\).*Mend"):
        check_dataset_config(cfg)


def test_classes_that_are_a_string_are_refused(tmp_path) -> None:
    cfg = dict(write(tmp_path), metainfo=dict(classes='ground'))
    with pytest.raises(DatasetError, match=r"classes='ground', a string.*classes=\('ground',\)"):
        check_dataset_config(cfg)


def test_rare_absent_and_ignored_classes_are_warnings(tmp_path) -> None:
    cfg = write(tmp_path, values=(0, 255, 255, 255))
    labels = cv2.imread(f'{tmp_path}/maps/0.png', cv2.IMREAD_UNCHANGED)
    labels[0, 0] = 1
    cv2.imwrite(f'{tmp_path}/maps/0.png', labels)
    report = report_split(cfg)
    assert report.errors == ()
    assert report.warnings[0] == '75% of the pixels are ignored'
    assert 'classes that never occur (1): light' in report.warnings[1]
    assert report.imbalance() == 'ground has 99.3% of the pixels, dark 0.69%: 143 to 1'


def test_used_classes_may_be_some_of_the_files(tmp_path) -> None:
    """Files of ADE20K with two of its classes: every other label becomes ignored, not an error."""
    cfg = dict(write(tmp_path, values=(1, 2, 3, 150)), type='ADE20KDataset')
    cfg['metainfo'] = dict(classes=('sky', 'wall'))
    assert check_dataset_config(cfg) == []
    report = report_split(cfg)
    assert report.errors == ()
    assert report.classes == (('sky', 144, 3), ('wall', 144, 3))
    cv2.imwrite(f'{tmp_path}/maps/0.png', np.full((12, 16), 151, np.uint8))
    with pytest.raises(DatasetError, match=r'values \[151\].*they are 1 to 150'):
        check_dataset_config(cfg)


def test_other_kinds_of_data_sets_are_refused() -> None:
    with pytest.raises(ValueError, match='type VOCDataset cannot be checked'):
        report_split(dict(type='VOCDataset', data_prefix=dict(sub_data_root='VOC2007')))
