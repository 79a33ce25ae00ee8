"""Every kind of bad COCO data is an error with its name and mend; real COCO passes."""

from __future__ import annotations

import copy
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import ConfigDict

from vitadapter_dense.datasets import (
    DatasetError,
    check_coco_annotations,
    check_config_datasets,
    check_dataset_config,
)
from vitadapter_dense.datasets.split_report import report_split

CLASSES = ('cat', 'dog', 'bird')
JPEG = cv2.imencode('.jpg', np.zeros((80, 100, 3), np.uint8))[1].tobytes()


def _content() -> dict:
    images = [dict(id=i, file_name=f'{i}.jpg', height=80, width=100) for i in (1, 2, 3)]
    annotations = [
        dict(
            id=k or 9,
            image_id=1 + k % 3,
            category_id=5 + k % 3,
            bbox=[10 + k, 20, 30, 15.5],
            area=400,
            segmentation=[[10, 20, 40, 20, 40, 35]],
            iscrowd=0,
        )
        for k in range(9)
    ]
    categories = [dict(id=5 + i, name=name) for i, name in enumerate(CLASSES)]
    return dict(images=images, annotations=annotations, categories=categories)


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'train').mkdir()
    for image in _content()['images']:
        (tmp_path / 'train' / image['file_name']).write_bytes(JPEG)
    _write(tmp_path, _content())
    return tmp_path


def _write(root: Path, content: object) -> None:
    (root / 'annotations' / 'train.json').write_text(json.dumps(content))


def _check(root: Path, *, classes: tuple[str, ...] = CLASSES, **options):
    return check_coco_annotations(
        root / 'annotations' / 'train.json', root / 'train', classes, **options
    )


def _config(root: Path, **changes) -> dict:
    return dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=CLASSES),
        **changes,
    )


def test_good_file_passes(root):
    summary = _check(root, masks=True, evaluated=True)
    assert (summary.num_images, summary.num_annotations) == (3, 9)
    assert not summary.oddities
    assert str(summary).endswith('train.json: 3 images, 9 annotations')


def _set(path: str, value: object) -> Callable[[dict], None]:
    """A change of one entry: `_set('annotations.2.bbox', [...])`."""

    def change(content: dict) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split('.')]
        for key in parents:
            content = content[key]
        content[last] = value

    return change


def _delete(path: str) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split('.')]
        for key in parents:
            content = content[key]
        del content[last]

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_delete('annotations'), "has no list 'annotations'.*found:.*categories"),
        (_delete('images'), "has no list 'images'"),
        (_delete('categories'), "has no list 'categories'"),
        (_set('images', []), '`images` has no entries'),
        (_set('annotations', []), '`annotations` has no entries'),
        (_set('annotations.4.category_id', 77), 'category_id that is not among.*77'),
        (_set('categories.1.name', 'Dog'), "'dog' are not among.*near to 'dog': 'Dog'"),
        (_set('categories.1.name', 'cat'), "category name 'cat' is there twice"),
        (_set('categories.1.id', 5), 'category id 5 is there twice'),
        (_delete('categories.0.name'), 'needs an `id` and a `name`'),
        (_delete('images.1.height'), 'needs `id`, `file_name`, `height`'),
        (_set('images.1.width', 0), r'2\.jpg has width=0'),
        (_set('images.1.id', 1), 'image id 1 is there twice'),
        (_set('images.2.file_name', 'x.jpg'), "1 of the 3 images .* are missing in .*: 'x.jpg'"),
        (_set('annotations.4.id', 2), 'annotation id 2 is there twice'),
        (_delete('annotations.4.bbox'), "'id': 4.* has no `bbox`"),
        (_delete('annotations.4.area'), 'has no `area`'),
        (_set('annotations.4.bbox', [1, 2, 3]), r'annotation 4: bbox=\[1, 2, 3\] must be four'),
        (_set('annotations.4.bbox', [1, 2, float('nan'), 3]), 'annotation 4.*nan.*finite'),
        (_set('annotations.4.bbox', [1, float('inf'), 3, 3]), 'annotation 4.*finite'),
        (_set('annotations.4.bbox', [1, 2, '3', 3]), 'annotation 4.*finite numbers'),
        (_set('annotations.4.bbox', [9, 9, -3, 4]), 'annotation 4.*negative size'),
        (_set('annotations.4.bbox', [9, 9, 0, 4]), 'annotation 4.*has no area'),
        (_set('annotations.4.bbox', [120, 9, 9, 4]), 'annotation 4.*outside of its 100 x 80'),
        (_set('annotations.4.bbox', [80, 60, 90, 75]), 'annotation 4.*outside'),
        (_set('annotations.4.area', float('nan')), 'area=nan'),
        (_set('annotations.4.category_id', [5]), r'category_id that is not among.*\[5\]'),
    ],
)
def test_bad_file_is_an_error(root, change, message):
    content = _content()
    change(content)
    _write(root, content)
    with pytest.raises(DatasetError, match=message) as caught:
        _check(root)
    assert 'train.json' in str(caught.value)


def test_all_mistakes_are_told_at_once(root):
    content = _content()
    for change in (
        _set('annotations.1.bbox', [1, 2, 3]),
        _set('annotations.6.bbox', 'box'),
        _delete('annotations.3.area'),
        _set('annotations.4', [5]),
        _set('annotations.5.id', 6),
        _set('annotations.7.category_id', 77),
        _set('images.1.file_name', 'x.jpg'),
        _set('images.2.width', None),
        lambda c: c['categories'].append(dict(id=9)),
    ):
        change(content)
    _write(root, content)
    (root / 'train' / '1.jpg').write_bytes(b'no picture')
    with pytest.raises(DatasetError) as caught:
        _check(root, look_into_images=True)
    told = [
        '1 x incomplete category, first: ',
        '1 x image without a size, first: ',
        '1 x annotation without `area`, first: ',
        '1 x annotation without `area`, `bbox`, `id`, `image_id`, first: ',
        '1 x annotation id that is not unique, first: ',
        '2 x box that is not four numbers, first: ',
        '1 annotations have a category_id that is not among the categories: 77',
        '1 of the 3 images of ',
    ]
    for part in told:
        assert part in str(caught.value)
    # whoever reads all files is told of the broken image, too
    report = report_split(_config(root))
    assert len(report.errors) == len(str(caught.value).splitlines()) + 1
    assert report.errors[-1].startswith('1 x broken, first: ')
    # and of both splits
    loader = dict(batch_size=1, dataset=_config(root))
    other = dict(batch_size=1, dataset={**_config(root), 'ann_file': 'annotations/val.json'})
    cfg = ConfigDict(train_dataloader=loader, val_dataloader=other)
    (root / 'annotations' / 'val.json').write_text('[')
    with pytest.raises(DatasetError, match=r'(?s)incomplete category.*val\.json is not JSON'):
        check_config_datasets(cfg)


def test_unreadable_files(root):
    file = root / 'annotations' / 'train.json'
    file.write_text(json.dumps(_content())[:-30])
    with pytest.raises(DatasetError, match=r'train\.json is not JSON.*cut off'):
        _check(root)
    file.write_bytes(b'\x1f\x8b\x08\xff\xfe')
    with pytest.raises(DatasetError, match='is not JSON'):
        _check(root)
    _write(root, [1, 2])
    with pytest.raises(DatasetError, match='found: a list'):
        _check(root)
    file.unlink()
    with pytest.raises(DatasetError, match=r'train\.json does not exist.*make train'):
        _check(root)


def test_order_of_the_classes_matters(root):
    with pytest.raises(DatasetError, match="another order.*class 0 is 'dog'.*'cat', 'dog', 'bird'"):
        _check(root, classes=('dog', 'cat', 'bird'))


def test_mmdet_numbers_labels_in_the_order_of_the_file(root):
    """Why another order is an error."""
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset

    config = {**_config(root), 'metainfo': dict(classes=('dog', 'cat', 'bird'))}
    config.pop('type')
    instance = CocoDataset(**config, pipeline=[]).get_data_info(0)['instances'][0]
    category = next(a['category_id'] for a in _content()['annotations'] if a['image_id'] == 1)
    assert category == 5  # a cat
    assert instance['bbox_label'] == 0  # which that config calls a dog


def test_categories_left_out_must_be_meant(root):
    with pytest.raises(DatasetError, match="3 annotations .* does not know: 'dog'.*subset=True"):
        _check(root, classes=('cat', 'bird'))
    summary = _check(root, classes=('cat', 'bird'), subset=True)
    assert summary.oddities['annotations of categories left out'] == 3
    config = {**_config(root), 'metainfo': dict(classes=('cat', 'bird'), subset=True)}
    assert len(check_dataset_config(config)) == 1


def test_unused_category_is_no_error(root):
    content = _content()
    content['categories'].append(dict(id=99, name='unicorn'))
    _write(root, content)
    _check(root)


def test_what_mmdet_handles_is_tolerated(root):
    content = _content()
    content['annotations'] = [
        dict(copy.deepcopy(content['annotations'][k % 9]), id=k or 3000) for k in range(3000)
    ]
    boxes = {
        3: [50, 60, 1.2, 0],  # of no area, as two in COCO's train2017
        4: [90, 10, 12, 10],  # reaches out of the image
        5: [90, 10, 0.4, 10],  # less than a pixel
    }
    for k, box in boxes.items():
        content['annotations'][k]['bbox'] = box
    content['annotations'][6].update(iscrowd=1, segmentation=dict(size=[80, 100], counts=[8000]))
    content['annotations'][7]['image_id'] = 12345
    _write(root, content)
    summary = _check(root, masks=True, evaluated=True)
    assert sorted(summary.oddities.values()) == [1] * 5
    assert 'tolerated: 1 ' in str(summary)


def test_wrong_box_format_is_recognised(root):
    content = _content()
    for annotation in content['annotations']:
        annotation['bbox'] = [60, 50, 95, 75]  # x1, y1, x2, y2
    _write(root, content)
    with pytest.raises(DatasetError, match=r'9 of 9 boxes are broken.*\[x1, y1, x2, y2\]'):
        _check(root)


def test_masks_and_crowd_flags_where_they_are_needed(root):
    content = _content()
    del content['annotations'][0]['segmentation'], content['annotations'][1]['iscrowd']
    _write(root, content)
    _check(root)
    with pytest.raises(DatasetError, match='annotation 9 has no segmentation'):
        _check(root, masks=True)
    with pytest.raises(DatasetError, match='has no `iscrowd`'):
        _check(root, evaluated=True)
    pipeline = [dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True)]
    with pytest.raises(DatasetError, match='no segmentation'):
        check_dataset_config(_config(root, pipeline=pipeline))


def test_images_without_annotations_are_enough_for_testing(root):
    content = _content()
    del content['annotations']
    _write(root, content)
    assert _check(root, evaluated=True).num_annotations == 0


def test_images_in_sub_folders(root):
    content = _content()
    (root / 'train' / 'a' / 'b').mkdir(parents=True)
    (root / 'train' / 'a' / 'b' / '9.jpg').touch()
    content['images'][0]['file_name'] = 'a/b/9.jpg'
    content['images'][1]['file_name'] = 'no/such/2.jpg'
    _write(root, content)
    with pytest.raises(DatasetError, match="1 of the 3 images .*: 'no/such/2.jpg'"):
        _check(root)


def test_missing_images_are_counted_and_the_first_named(root):
    for path in (root / 'train').iterdir():
        path.unlink()
    (root / 'train' / 'other.jpg').touch()
    with pytest.raises(DatasetError, match="3 of the 3 images .*: '1.jpg', '2.jpg', '3.jpg'"):
        _check(root)


# ---- data set configs


def test_missing_or_empty_folder_names_the_layout_and_the_quick_start(root, tmp_path):
    expected = re.escape(f'{tmp_path}/nowhere/annotations/train.json')
    with pytest.raises(DatasetError, match=f'(?s)nowhere does not exist.*{expected}.*make train'):
        check_dataset_config({**_config(root), 'data_root': f'{tmp_path}/nowhere'})
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DatasetError, match='(?s)empty is empty.*--data-root.*make train'):
        check_dataset_config({**_config(root), 'data_root': f'{tmp_path}/empty'})
    with pytest.raises(DatasetError, match='(?s)val2017 does not exist.*make train'):
        check_dataset_config({**_config(root), 'data_prefix': dict(img='val2017')})
    (root / 'void').mkdir()
    with pytest.raises(DatasetError, match='(?s)void is empty'):
        check_dataset_config({**_config(root), 'data_prefix': dict(img='train', seg='void')})
    with pytest.raises(DatasetError, match=r'(?s)val\.json does not exist.*Expected'):
        check_dataset_config({**_config(root), 'ann_file': 'annotations/val.json'})


def test_wrapped_data_sets_are_opened(root):
    leaf = _config(root)
    repeated = dict(type='RepeatDataset', times=2, dataset=leaf)
    both = dict(type='ConcatDataset', datasets=[repeated, leaf])
    assert len(check_dataset_config(dict(type='ClassBalancedDataset', dataset=both))) == 2
    broken = dict(type='ConcatDataset', datasets=[leaf, {**leaf, 'data_root': '/nowhere'}])
    with pytest.raises(DatasetError, match='/nowhere does not exist'):
        check_dataset_config(ConfigDict(broken))


def test_config_is_checked_once_a_split(root):
    loader = dict(batch_size=1, dataset=_config(root))
    cfg = ConfigDict(train_dataloader=loader, val_dataloader=loader, test_dataloader=None)
    (level, counted), (_, shared) = check_config_datasets(cfg)
    assert (level, counted[-23:]) == (logging.INFO, '3 images, 9 annotations')
    assert shared.startswith('all 3 images of val are images of training')
    cfg.model = dict(panoptic_head=dict(num_queries=2))
    with pytest.raises(DatasetError, match='num_queries is 2, but .* an image with 3 objects'):
        check_config_datasets(cfg)
    content = _content()
    content['annotations'][0]['iscrowd'] = content['annotations'][1]['iscrowd'] = 1
    content['annotations'][2]['iscrowd'] = 1
    _write(root, content)  # a crowd is no object
    check_config_datasets(cfg, loaders=('train',))
    del cfg.model
    content = _content()
    content['annotations'][0]['id'] = 0
    _write(root, content)
    assert len(check_config_datasets(cfg, loaders=('train',))) == 2
    with pytest.raises(DatasetError, match='annotation id 0 counts as a miss'):
        check_config_datasets(cfg)


def test_class_names(root, tmp_path):
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(CLASSES) + '\n')
    check_dataset_config({**_config(root), 'metainfo': dict(classes=str(names))})
    with pytest.raises(DatasetError, match=r"classes=\('cat',\)"):
        check_dataset_config({**_config(root), 'metainfo': dict(classes='cat')})


def test_no_classes_means_those_of_coco(root):
    pytest.importorskip('mmdet')
    config = _config(root)
    del config['metainfo']
    with pytest.raises(DatasetError, match="of the 80 classes of the config, 'person'"):
        check_dataset_config(config)


def test_other_types_need_their_folders_only(root):
    config = dict(type='ADE20KDataset', data_root=str(root), data_prefix=dict(img_path='train'))
    assert check_dataset_config(config) == []
    config['data_prefix']['seg_map_path'] = 'maps'
    with pytest.raises(DatasetError, match='maps does not exist'):
        check_dataset_config(config)


def test_remote_data_is_left_alone(root):
    assert check_dataset_config({**_config(root), 'data_root': 's3://bucket/coco'}) == []
    assert check_dataset_config({**_config(root), 'backend_args': dict(backend='petrel')}) == []


@pytest.mark.parametrize(
    'mask',
    [
        dict(size=[100, 80], counts='abc'),
        dict(size=[80, 100]),
        'abc',
        dict(counts=[1, 2]),
        dict(size=[80, 100], counts=[1, 2]),
        [1, 2, 3, 4, 5, 6],
    ],
)
def test_mask_of_another_image_or_form_is_named(root, mask):
    content = _content()
    content['annotations'][4]['segmentation'] = mask
    _write(root, content)
    with pytest.raises(
        DatasetError, match='annotation 4.*(size of its image|list of polygons|make 3 pixels)'
    ):
        _check(root, masks=True)


def test_polygons_that_are_left_out_are_counted(root):
    content = _content()
    content['annotations'][4]['segmentation'] = [[1, 2, 3]]
    _write(root, content)
    oddities = _check(root, masks=True).oddities
    assert oddities['objects without a polygon of three points, which are ignored'] == 1


@pytest.mark.parametrize('split', ['train', 'val'])
def test_real_coco_passes(real_data, split):
    pytest.importorskip('mmdet')
    config = dict(
        type='CocoDataset',
        data_root=str(real_data / 'coco_tiny'),
        ann_file=f'annotations/instances_{split}2017.json',
        data_prefix=dict(img=f'{split}2017/'),
        test_mode=split == 'val',
        pipeline=[dict(type='LoadAnnotations', with_mask=True)],
    )
    (summary,) = check_dataset_config(config)
    assert summary.num_images == 80
    assert summary.oddities['crowd regions'] > 0
