"""Boxes in another format, and whatever else would leave most of a data set out, are an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from coco_files import CLASSES, coco_content, write_coco

from vitadapter_dense.datasets import DatasetError, check_coco_annotations, check_dataset_config

WIDTH, HEIGHT = 100, 80


def random_boxes(number: int, *, largest: int = 40, seed: int = 0) -> list[list[float]]:
    """Boxes within an image, as `coco_content` has them."""
    generator = np.random.default_rng(seed)
    boxes = []
    for _ in range(number):
        w, h = generator.integers(4, largest, 2)
        x, y = generator.integers(0, WIDTH - w), generator.integers(0, HEIGHT - h)
        boxes.append([float(n) for n in (x, y, w, h)])
    return boxes


def normalised(annotation: dict) -> None:
    x, y, w, h = annotation['bbox']
    box = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]
    annotation.update(bbox=box, area=box[2] * box[3])


def centred(annotation: dict) -> None:
    """As YOLO's files are."""
    normalised(annotation)
    x, y, w, h = annotation['bbox']
    annotation['bbox'] = [x + w / 2, y + h / 2, w, h]


def corners(annotation: dict) -> None:
    x, y, w, h = annotation['bbox']
    annotation['bbox'] = [x, y, x + w, y + h]


def doubled(annotation: dict) -> None:
    annotation['bbox'] = [2 * n for n in annotation['bbox']]


def normalised_polygon(annotation: dict) -> None:
    (polygon,) = annotation['segmentation']
    annotation['segmentation'] = [
        [n / (HEIGHT if index % 2 else WIDTH) for index, n in enumerate(polygon)]
    ]


def setting(**entries: Any) -> Callable[[dict], None]:
    return lambda annotation: annotation.update(entries)


FAULTS = {
    normalised: r'lie in 0\.\.1, normalised',
    centred: r'lie in 0\.\.1, normalised',
    corners: r'\[x1, y1, x2, y2\]',
    doubled: 'units of another image size',
    normalised_polygon: r'polygons do not begin within their boxes.*0\.\.1, normalised',
    setting(segmentation=[[1, 2, 8, 9]]): 'without a polygon of three points.*without a mask head',
    setting(area=0): 'area is not positive.*write the area of the mask',
    setting(iscrowd=1): 'crowd regions.*`iscrowd` marks groups',
    setting(ignore=1): 'take `ignore` out',
    setting(image_id=77): 'images that are not in the file.*is it the file of this split',
    setting(image_id='1'): "image_id is '1' where `images` has 1",
}


@pytest.mark.parametrize('change', FAULTS)
def test_likely_cause_is_named_where_most_is_wrong(change, tmp_path) -> None:
    content = coco_content(random_boxes(40), per_image=4)
    write_coco(tmp_path, 'a', content)
    check_coco_annotations(tmp_path / 'a.json', tmp_path / 'a', CLASSES, masks=True)
    for annotation in content['annotations'][:38]:
        change(annotation)
    for evaluated in (False, True):
        write_coco(tmp_path, 'a', content)
        with pytest.raises(DatasetError, match=FAULTS[change]) as caught:
            check_coco_annotations(
                tmp_path / 'a.json', tmp_path / 'a', CLASSES, masks=True, evaluated=evaluated
            )
        assert 'a.json' in str(caught.value)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('area', ['box', 'corners', 'mask'])
def test_corners_are_found_whatever_the_area_is(area, seed, tmp_path) -> None:
    """Small objects, of which most still lie within their images."""
    content = coco_content(random_boxes(30, largest=15, seed=seed))
    for annotation in content['annotations']:
        corners(annotation)
        _, _, w, h = annotation['bbox']
        annotation['area'] = dict(box=annotation['area'], corners=w * h, mask=20.0)[area]
    write_coco(tmp_path, 'a', content)
    with pytest.raises(DatasetError, match=r'Likely: .*\[x1, y1, x2, y2\]'):
        check_coco_annotations(tmp_path / 'a.json', tmp_path / 'a', CLASSES)


def test_large_and_small_objects_are_no_fault(tmp_path) -> None:
    """Boxes of whole images, tiny ones, and masks that are drawn otherwise than the boxes."""
    boxes = [[0, 0, WIDTH, HEIGHT]] * 6 + random_boxes(6, largest=6)
    content = coco_content([*boxes, *([[1, 1, 99.5, 79.5]] * 6)])
    for annotation in content['annotations'][:5]:
        annotation['segmentation'] = [[3, 3, 9, 3, 9, 9]]
    write_coco(tmp_path, 'a', content)
    for evaluated in (False, True):
        assert not check_coco_annotations(
            tmp_path / 'a.json', tmp_path / 'a', CLASSES, masks=True, evaluated=evaluated
        ).oddities


@pytest.mark.parametrize('share', [0.2, 0.4, 0.6, 0.9])
def test_what_is_left_out_is_what_mmdet_leaves_out(share, tmp_path) -> None:
    """Counted by its own data set; more than half of it is refused."""
    datasets = pytest.importorskip('mmdet.datasets')
    changes = [normalised, setting(area=0), setting(iscrowd=1), setting(image_id=77)]
    changes += [setting(ignore=True)]
    content = coco_content(random_boxes(50), per_image=2)
    for index, annotation in enumerate(content['annotations'][: int(50 * share)]):
        changes[index % len(changes)](annotation)
    config = write_coco(tmp_path, 'a', content)
    known = datasets.CocoDataset(**{k: v for k, v in config.items() if k != 'type'})
    kept = sum(not obj['ignore_flag'] for item in known for obj in item['instances'])
    assert kept == 50 - int(50 * share)
    if kept < 25:
        with pytest.raises(DatasetError, match=f'{50 - kept} of 50 annotations would be left out'):
            check_dataset_config(config)
    else:
        (summary,) = check_dataset_config(config)
        assert sum(summary.oddities.values()) == 50 - kept


def test_nothing_of_the_classes_is_an_error(tmp_path) -> None:
    content = coco_content(random_boxes(4))
    content['categories'].append(dict(id=3, name='bird'))
    write_coco(tmp_path, 'a', content)
    with pytest.raises(DatasetError, match=r"none of its 4 annotations.*\('bird'\): nothing is"):
        check_coco_annotations(tmp_path / 'a.json', tmp_path / 'a', ('bird',), subset=True)


@pytest.mark.parametrize('filter_cfg', [None, {}, dict(filter_empty_gt=True), dict(min_size=32)])
def test_images_that_do_not_train_are_counted_as_mmdet_counts(filter_cfg, tmp_path) -> None:
    datasets = pytest.importorskip('mmdet.datasets')
    content = coco_content(random_boxes(12))
    content['annotations'] = content['annotations'][:8]  # four images of background
    content['annotations'][0].update(iscrowd=1)  # and one where nothing is learnt
    content['images'][1].update(height=30)
    content['annotations'][1].update(bbox=[5, 5, 9, 9])
    config = write_coco(tmp_path, 'a', content) | dict(filter_cfg=filter_cfg)
    (summary,) = check_dataset_config(config)
    known = datasets.CocoDataset(**{k: v for k, v in config.items() if k != 'type'})
    counts = {'left out': 0, 'as background': 0}
    for text in summary.warnings:
        what = 'left out' if 'left out' in text else 'as background'
        counts[what] += int(text.split(' of 12 images ')[0])
    empty = sum(not any(not o['ignore_flag'] for o in item['instances']) for item in known)
    assert counts == {'left out': 12 - len(known), 'as background': empty}


def test_a_filter_that_leaves_nothing_names_the_cause(tmp_path) -> None:
    content = coco_content(random_boxes(6))
    config = write_coco(tmp_path, 'a', content)
    with pytest.raises(DatasetError, match=r'6 of 6 images are left out.*min_size=81.*lower it'):
        check_dataset_config(config | dict(filter_cfg=dict(min_size=81)))


def test_an_image_that_is_listed_twice_is_said(tmp_path) -> None:
    content = coco_content(random_boxes(3))
    content['images'][2]['file_name'] = '0.jpg'
    (summary,) = check_dataset_config(write_coco(tmp_path, 'a', content))
    (said,) = summary.warnings
    assert said.startswith("1 image files are listed more than once, first '0.jpg'")
