"""What a task sees of a data set: its samples, and of them its labels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset

from vitadapter_dense.continual import ContinualSettings, TaskSet
from vitadapter_dense.continual.check_tasks import check_tasks
from vitadapter_dense.continual.class_presence import class_presence
from vitadapter_dense.continual.errors import ScheduleError
from vitadapter_dense.datasets.classification import ClassificationDataset, labels_of

CLASSES = ('ground', 'a', 'b', 'c')
# classes of each image; 255 is there too
IMAGES = ((1,), (2,), (1, 2), (3,), (1, 3), (), (2, 3))
GROUPS = [['a'], ['b'], ['c']]


def segmentation(folder: Path) -> object:
    """A column of the map for every class, ground around them."""
    from mmseg.datasets import BaseSegDataset

    (folder / 'images').mkdir(exist_ok=True)
    (folder / 'maps').mkdir(exist_ok=True)
    for number, labels in enumerate(IMAGES):
        seg_map = np.zeros((8, 8), np.uint8)
        seg_map[0, 0] = 255
        for label in labels:
            seg_map[2:, label] = label
        cv2.imwrite(str(folder / 'images' / f'{number}.jpg'), np.zeros((8, 8, 3), np.uint8))
        cv2.imwrite(str(folder / 'maps' / f'{number}.png'), seg_map)
    return BaseSegDataset(
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='maps'),
        metainfo=dict(classes=CLASSES),
        pipeline=[dict(type='LoadImageChecked'), dict(type='LoadAnnotationsChecked')],
    )


@pytest.mark.parametrize('protocol', ['overlap', 'disjoint', 'sequential'])
def test_pixels_of_other_tasks_are_background(tmp_path: Path, protocol: str) -> None:
    """Against the definition, image by image."""
    settings = ContinualSettings(GROUPS, background='ground', protocol=protocol)
    schedule = settings.schedule(CLASSES)
    seen_images = []
    for task, new in enumerate((1, 2, 3)):
        labels = settings.training_labels(schedule, task)
        wrapped = TaskSet(
            segmentation(tmp_path),
            sorted(labels.labelled),
            having=sorted(labels.having),
            without=sorted(labels.without),
            background=0,
            cache=str(tmp_path / 'classes.npz'),
        )
        numbers = [int(Path(wrapped[i]['img_path']).stem) for i in range(len(wrapped))]
        later = [label for label in (1, 2, 3) if label > new]
        strict = protocol != 'overlap'
        assert numbers == [
            n
            for n, own in enumerate(IMAGES)
            if new in own and not (strict and set(later) & set(own))
        ]
        seen_images += numbers
        for index, number in enumerate(numbers):
            raw = cv2.imread(str(tmp_path / f'maps/{number}.png'), cv2.IMREAD_UNCHANGED)
            allowed = range(1, new + 1) if protocol == 'sequential' else [new]
            expected = np.where(np.isin(raw, [*allowed, 255]), raw, 0)
            assert (wrapped[index]['gt_seg_map'] == expected).all()
            assert not set(np.unique(wrapped[index]['gt_seg_map'])) & set(later)
    assert (len(seen_images) == len(set(seen_images))) == (protocol != 'overlap')
    ignoring = TaskSet(segmentation(tmp_path), [2], having=[2])
    assert set(np.unique(ignoring[1]['gt_seg_map'])) == {2, 255}


def test_objects_of_other_tasks_are_background(tmp_path: Path) -> None:
    from mmdet.datasets import CocoDataset

    (tmp_path / 'train').mkdir()
    images = [
        dict(id=n, file_name=f'{n}.jpg', width=64, height=64) for n in range(1, len(IMAGES) + 1)
    ]
    objects = [
        dict(id=10 * n + c, image_id=n, category_id=c, bbox=[4, 4, 40, 40], area=1600, iscrowd=0)
        for n, own in enumerate(IMAGES, start=1)
        for c in own
    ]
    names = [dict(id=n, name=name) for n, name in enumerate(CLASSES[1:], start=1)]
    file = tmp_path / 'train.json'
    file.write_text(json.dumps(dict(images=images, annotations=objects, categories=names)))
    whole = CocoDataset(
        ann_file=str(file),
        data_prefix=dict(img='train'),
        metainfo=dict(classes=CLASSES[1:]),
        pipeline=[lambda results: results],
    )
    wrapped = TaskSet(RepeatDataset(whole, 2), [1], having=[1])
    assert len(wrapped) == 2 * sum(2 in own for own in IMAGES)
    for index in range(len(wrapped)):
        assert [one['bbox_label'] for one in wrapped[index]['instances']] == [1]
        assert wrapped.get_cat_ids(index) == [1]
        assert [one['bbox_label'] for one in wrapped.get_data_info(index)['instances']] == [1]


def test_labels_that_were_written_since_are_read_again(tmp_path: Path) -> None:
    kept, dataset = tmp_path / 'classes.npz', segmentation(tmp_path)
    for _ in range(2):
        assert not class_presence(dataset, cache=kept)[5, 3]
    cv2.imwrite(str(tmp_path / 'maps/5.png'), np.full((8, 8), 3, np.uint8))
    assert class_presence(dataset, cache=kept)[5, 3]


class Numbered(ClassificationDataset):
    """Twelve samples of four classes; a pipeline that drops the first asks for another."""

    METAINFO = dict(classes=CLASSES)

    def load_data_list(self) -> list[dict]:
        return [dict(img_path=f'{n}.jpg', gt_label=n % 4) for n in range(12)]


def dropping(results: dict) -> dict | None:
    """As a crop without objects does."""
    assert results['gt_label'] in (1, 3), 'a class of another task was seen'
    return None if results['img_path'] in ('1.jpg', '3.jpg') else results


def test_a_sample_that_is_drawn_in_place_of_another_is_of_the_task() -> None:
    halves = [Numbered(indices=part, pipeline=[dropping]) for part in (range(6), range(6, 12))]
    wrapped = TaskSet(ConcatDataset(halves), [1, 3], having=[1, 3])
    assert len(wrapped) == 6
    for _ in range(5):
        assert {wrapped[index]['gt_label'] for index in range(6)} <= {1, 3}
    single = TaskSet(Numbered(pipeline=[]), [1, 3], having=[1, 3])
    assert labels_of(single).tolist() == [1, 3] * 3
    assert not hasattr(wrapped, 'gt_seg_map')


@pytest.mark.parametrize(
    ('groups', 'options', 'message'),
    [
        ([['a', 'b', 'c'], ['ground']], dict(background='x'), "names 'x', which is no class"),
        ('2-2', dict(background=None, pseudo_labels=dict(threshold=0.5)), 'are for pixels'),
        ('1-1', dict(background='ground'), 'what has no label is the background of pixels'),
    ],
)
def test_what_does_not_go_with_a_data_set(groups: object, options: dict, message: str) -> None:
    settings = ContinualSettings(groups, **options)
    with pytest.raises(ScheduleError, match=message):
        check_tasks(Numbered(pipeline=[]), settings, settings.schedule(CLASSES), cache=None)


def test_a_class_without_a_sample_is_named(tmp_path: Path) -> None:
    small = Numbered(indices=[0, 1, 2, 4], pipeline=[])
    settings = ContinualSettings('2-2')
    with pytest.raises(ScheduleError, match='no sample of the training set is of c, of task 1'):
        check_tasks(small, settings, settings.schedule(CLASSES), cache=None)
    together = segmentation(tmp_path)
    settings = ContinualSettings([['c'], ['a'], ['b']], background='ground', protocol='disjoint')
    kind, sizes = check_tasks(together, settings, settings.schedule(CLASSES), cache=None)
    assert (kind, sizes) == ('segmentation', [1, 2, 3])
    together = segmentation(tmp_path)
    together.full_init()
    keep = [n for n in range(len(together)) if IMAGES[n] != (3,)]
    settings = ContinualSettings([['c'], ['a'], ['b']], background='ground', protocol='disjoint')
    with pytest.raises(ScheduleError, match='task 0 has no sample of c.*Mend: protocol'):
        check_tasks(together.get_subset(keep), settings, settings.schedule(CLASSES), cache=None)
