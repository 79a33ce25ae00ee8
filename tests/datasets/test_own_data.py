"""Whatever the layout, the same objects come out; all that is wrong is told, with its mend."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import own_layouts as lay
import pytest
from PIL import Image

from vitadapter_dense.datasets import DatasetError
from vitadapter_dense.datasets.own_data import prepare
from vitadapter_dense.datasets.own_request import OwnData, Request


def found_objects(root: Path, data: OwnData, *, polygons: bool = False) -> dict[str, list]:
    """Image name -> class and corners (or polygon), of both splits' COCO files."""
    found = {}
    for part in (data.train, data.val):
        content = json.loads((root / part['ann_file']).read_text())
        names = {category['id']: category['name'] for category in content['categories']}
        assert tuple(names.values()) == data.classes
        by_id = {image['id']: image for image in content['images']}
        for image in content['images']:
            path = root / part['data_prefix']['img'] / image['file_name']
            with Image.open(path) as picture:
                assert picture.size == (image['width'], image['height'])
            found[path.name] = []
        for annotation in content['annotations']:
            x, y, w, h = annotation['bbox']
            where = annotation['segmentation'][0] if polygons else (x, y, x + w, y + h)
            label = names[annotation['category_id']]
            name = Path(by_id[annotation['image_id']]['file_name']).name
            found[name].append((label, tuple(round(value, 2) for value in where)))
    return found


TRUE_BOXES = {
    name: [(lay.CLASSES[label], box) for label, box in objects]
    for name, objects in [*lay.TRUTH.items(), (lay.NEGATIVE, [])]
}


@pytest.mark.parametrize(
    ('layout', 'write', 'split_off'),
    [
        ('YOLO', lay.write_yolo, False),
        ('YOLO', partial(lay.write_yolo, inside=False), False),
        ('YOLO', partial(lay.write_yolo, splits=False), True),
        ('YOLO', partial(lay.write_yolo, polygon=True), False),
        ('Pascal VOC', lay.write_voc, False),
        ('Pascal VOC', partial(lay.write_voc, lists=False), True),
        *(
            ('COCO', partial(lay.write_coco, where=w), w == 'one')
            for w in ('annotations', 'images', 'roboflow', 'one')
        ),
    ],
)
def test_every_layout_has_the_same_objects(
    tmp_path: Path, layout: str, write: Callable, split_off: bool
) -> None:
    write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    data = prepare(Request(root=tmp_path, task='detection'))
    assert data.layout == layout
    assert set(data.classes) == set(lay.CLASSES)
    found = found_objects(tmp_path, data)
    assert {name: sorted(objects) for name, objects in found.items()} == {
        name: sorted(objects) for name, objects in TRUE_BOXES.items()
    }
    assert data.counts == (5, 2) or split_off
    assert any('--seed 0' in remark for remark in data.remarks) == split_off
    assert data.example.is_file()
    assert all(path.read_bytes() == content for path, content in before.items())
    # a second run finds what the first has made, and changes nothing
    made = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob('*') if p.is_file()}
    again = prepare(Request(root=tmp_path, task='detection'))
    assert (again.train, again.val) == (data.train, data.val)
    assert made == {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob('*') if p.is_file()
    }


def test_polygons_of_yolo_are_masks(tmp_path: Path) -> None:
    lay.write_yolo(tmp_path, polygon=True)
    data = prepare(Request(root=tmp_path, task='instance'))
    found = found_objects(tmp_path, data, polygons=True)
    for name, objects in lay.TRUTH.items():
        expected = [(lay.CLASSES[label], tuple(lay.corners_of(box))) for label, box in objects]
        assert found[name] == expected


def test_a_split_is_the_seed_s_and_leaves_objects_to_learn(tmp_path: Path) -> None:
    def validation(folder: str, seed: int) -> set[str]:
        lay.write_yolo(tmp_path / folder, splits=False)
        data = prepare(Request(root=tmp_path / folder, task='detection', seed=seed, val_share=0.5))
        content = json.loads((tmp_path / folder / data.val['ann_file']).read_text())
        return {image['file_name'] for image in content['images']}

    splits = [validation(str(seed), seed) for seed in range(4)]
    assert validation('again', 0) == splits[0]
    assert len(set(map(frozenset, splits))) > 1
    # two images in all, of which one has an object: it is trained on
    root = tmp_path / 'two'
    for name in ('a', 'b'):
        lay.write_image(root / 'images' / f'{name}.jpg')
        lay.write_text(root / 'labels' / f'{name}.txt', '0 .5 .5 .2 .2' if name == 'a' else '')
    data = prepare(Request(root=root, task='detection', classes=('thing',)))
    assert data.counts == (1, 1)
    assert data.example.name == 'b.jpg'


def test_all_problems_of_all_label_files_are_told(tmp_path: Path) -> None:
    lay.write_yolo(tmp_path)
    labels = sorted((tmp_path / 'train' / 'labels').iterdir())
    bad = [
        '0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n',
        '0 0.5 0.5 0.1\n0 1.5 0.5 0.1 0.1\n-1 0.5 0.5 0.1 0.1',
        'cat 0.5 0.5 0.1 0.1\n0 nan 0.5 0.1 0.1\n0 0.5 0.5 -0.1 0.1\n',
        '0 40 30 20 20\n',
    ]
    for path, text in zip(labels, bad, strict=False):
        path.write_text(text)
    lay.write_text(tmp_path / 'train' / 'images' / 'broken.jpg', 'no picture')
    with pytest.raises(DatasetError) as caught:
        prepare(Request(root=tmp_path, task='detection'))
    said = str(caught.value)
    for part in (
        f'2 x class that has no name, first: {labels[0]}:2: class 7 is none of 0 to 1',
        f'1 x wrong number of values, first: {labels[1]}:1',
        f'2 x out of the image, first: {labels[1]}:2',
        f'1 x not numbers, first: {labels[2]}:1',
        f'1 x not finite, first: {labels[2]}:2',
        f'1 x negative size, first: {labels[2]}:3',
        '1 x broken image, first: ',
    ):
        assert part in said
    assert not list(tmp_path.glob('*converted*'))


def test_odd_labels_are_used_and_told(tmp_path: Path) -> None:
    lay.write_yolo(tmp_path, splits=False)
    first = sorted((tmp_path / 'labels').iterdir())[0]
    # a little over the border; the same line twice; no area
    first.write_text('0 0.95 0.5 0.11 0.2\n1 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n1 0.5 0.5 0 0.2\n')
    lay.write_text(tmp_path / 'labels' / 'nobody.txt', '0 0.5 0.5 0.1 0.1')
    lay.write_image(tmp_path / 'images' / 'unlabelled.webp')
    lay.write_text(tmp_path / 'work_dirs' / 'x' / 'run.json', '{}')  # a training's, with pictures
    lay.write_image(tmp_path / 'work_dirs' / 'x' / 'pictures' / 'drawn.png')
    lay.write_image(tmp_path / 'images' / 'turned.jpg', exif=6)
    lay.write_text(tmp_path / 'labels' / 'turned.txt', '0 0.25 0.5 0.5 1')
    data = prepare(Request(root=tmp_path, task='detection'))
    said = '\n'.join(data.remarks)
    for part in (
        f'there twice, taken once (1): first {first}:3',
        f'no area, left out (1): first {first}:4',
        'label files without an image, left out (1): first ',
        'without a label file, taken for background (1)',
    ):
        assert part in said
    everything = [
        json.loads((tmp_path / part['ann_file']).read_text()) for part in (data.train, data.val)
    ]
    boxes = {
        (image['file_name'], tuple(one['bbox']))
        for content in everything
        for one in content['annotations']
        for image in content['images']
        if image['id'] == one['image_id']
    }
    width, height = lay.SIZE
    assert (f'images/{first.stem}.JPG' if first.stem != 'empty' else 'images/empty.png') in {
        name for name, _ in boxes
    }
    assert max(x + w for _, (x, _, w, _) in boxes) <= width
    # of a photograph on its side, 64 x 80 as it is shown, the left half
    assert ('images/turned.jpg', (0, 0, height / 2, width)) in boxes


def test_voc_s_difficult_objects_and_counting_from_zero(tmp_path: Path) -> None:
    lay.write_voc(tmp_path)
    (name, objects), *_ = lay.TRUTH.items()
    file = tmp_path / 'Annotations' / f'{Path(name).stem}.xml'
    file.write_text(lay.voc_text(objects, extra='<difficult>1</difficult>'))
    data = prepare(Request(root=tmp_path, task='detection'))
    content = json.loads((tmp_path / data.train['ann_file']).read_text())
    assert sorted(one['iscrowd'] for one in content['annotations']) == [0] * 6 + [1] * 2
    assert 'difficult objects' in data.remarks[0]
    file.write_text(lay.voc_text([(0, (-1, 3, 10, 12))]))  # xmin 0, ymin 4
    data = prepare(Request(root=tmp_path, task='detection', converted=tmp_path / 'converted_x'))
    content = json.loads((tmp_path / data.train['ann_file']).read_text())
    assert [0, 4, 10, 8] in [one['bbox'] for one in content['annotations']]
    # a file for another size, one that is no XML, one without corners
    files = sorted((tmp_path / 'Annotations').iterdir())
    files[0].write_text(lay.voc_text(objects, size=(64, 80)))
    files[1].write_text('<annotation>')
    files[2].write_text('<annotation><object><name>cat</name></object></annotation>')
    files[3].write_text(lay.voc_text([(0, (50, 20, 300, 40)), (0, (40, 20, 20, 40))]))
    with pytest.raises(DatasetError) as caught:
        prepare(Request(root=tmp_path, task='detection', converted=tmp_path / 'converted_y'))
    for part in (
        f'1 x other image size, first: {files[0]} is for 64 x 80 pixels',
        f'1 x broken XML, first: {files[1]}',
        f'1 x incomplete object, first: {files[2]}: object 1',
        f'1 x out of the image, first: {files[3]}: object 1 (cat)',
        f'1 x corners the wrong way, first: {files[3]}: object 2 (cat)',
    ):
        assert part in str(caught.value)


def test_coco_is_completed_where_that_is_no_guess(tmp_path: Path) -> None:
    lay.write_coco(tmp_path, where='images')
    file = tmp_path / 'train.json'
    content = json.loads(file.read_text())
    for number, annotation in enumerate(content['annotations']):
        del annotation['iscrowd'], annotation['area']
        annotation['id'] = number // 2  # 0 among them, and each twice
    file.write_text(json.dumps(content))
    data = prepare(Request(root=tmp_path, task='instance'))
    assert 'lacks area and iscrowd and ids' in data.remarks[0]
    made = json.loads((tmp_path / data.train['ann_file']).read_text())
    assert [one['id'] for one in made['annotations']] == [*range(1, 9)]
    assert {one['iscrowd'] for one in made['annotations']} == {0}
    assert found_objects(tmp_path, data) == TRUE_BOXES
    # what cannot be mended so is left for the check, in the copies too
    root = tmp_path / 'one'
    lay.write_coco(root, where='one')
    content = json.loads((root / 'result.json').read_text())
    content['annotations'][0] = 'none'
    content['annotations'][1]['image_id'] = '10'
    (root / 'result.json').write_text(json.dumps(content))
    data = prepare(Request(root=root, task='detection'))
    made = json.loads((root / data.train['ann_file']).read_text())['annotations']
    assert 'none' in made
    assert '10' in [one['image_id'] for one in made if one != 'none']
    content['images'].append(content['images'][0])
    (root / 'result.json').write_text(json.dumps(content))
    with pytest.raises(DatasetError, match='1 image ids are there more than once, first 10'):
        prepare(Request(root=root, task='detection', replace=True))


@pytest.mark.parametrize(
    ('write', 'task', 'message'),
    [
        (lambda root: None, 'detection', 'no annotations of COCO'),
        (lambda root: None, 'segmentation', 'has no label maps'),
        (lay.write_voc, 'instance', '--task detection'),
        (lay.write_yolo, 'instance', '6 x image with boxes that have no outline'),
        (partial(lay.write_coco, where='one'), 'segmentation', 'hold objects .coco.: --task'),
        (partial(lay.write_maps, maps='masks'), 'detection', 'has label maps: --task segm'),
        (lambda r: (lay.write_voc(r), lay.write_yolo(r)), 'detection', r'formats \(voc, yolo\)'),
        (lambda r: lay.write_text(r / 'instances_train.json', '[1'), 'detection', 'is not JSON'),
        (lambda r: lay.write_text(r / 'a.coco.json', '{"images": []}'), 'detection', 'no lists'),
        (
            lambda r: [
                lay.write_text(r / f'{n}.json', '{"images": [], "annotations": []}') for n in 'ab'
            ],
            'detection',
            'no lists images, annotations, categories',
        ),
    ],
)
def test_what_cannot_be_meant_is_told(
    tmp_path: Path, write: Callable, task: str, message: str
) -> None:
    write(tmp_path)
    with pytest.raises(DatasetError, match=message):
        prepare(Request(root=tmp_path, task=task))


def test_nothing_is_written_over(tmp_path: Path) -> None:
    lay.write_yolo(tmp_path, splits=False)
    request = Request(root=tmp_path, task='detection')
    mine = tmp_path / 'converted_detection' / 'notes.txt'
    lay.write_text(mine, 'mine')
    with pytest.raises(DatasetError, match='was not made from data'):
        prepare(request)
    assert (mine.read_text(), len(list(mine.parent.iterdir()))) == ('mine', 1)
    mine.unlink()
    mine.parent.rmdir()
    data = prepare(request)
    made = (tmp_path / data.train['ann_file']).read_text()
    with pytest.raises(DatasetError, match=r'other data or options \(seed\)'):
        prepare(dataclasses.replace(request, seed=1))
    label = sorted((tmp_path / 'labels').iterdir())[0]
    label.write_text('1 0.5 0.5 0.5 0.5\n')
    with pytest.raises(DatasetError, match='other labels or files'):
        prepare(request)
    # what no training has read is made anew, unless somebody has changed it
    said = prepare(dataclasses.replace(request, replace=True)).remarks[-1]
    assert said.startswith('converted anew')
    assert (tmp_path / data.train['ann_file']).read_text() != made
    assert 'used again' in prepare(request).remarks[-1]
    (tmp_path / 'classes.txt').write_text('other\nnames\n')
    with pytest.raises(DatasetError, match='other labels or files'):
        prepare(request)
    assert prepare(dataclasses.replace(request, replace=True)).classes == ('other', 'names')
    (tmp_path / data.train['ann_file']).write_text(made)
    label.write_text('')
    for replace in (False, True):
        with pytest.raises(DatasetError, match='were changed'):
            prepare(dataclasses.replace(request, replace=replace))
    assert (tmp_path / data.train['ann_file']).read_text() == made
    assert not [path for path in tmp_path.iterdir() if path.name.startswith('.')]


# ---- label maps


def found_maps(root: Path, data: OwnData) -> dict[str, np.ndarray]:
    """Image name -> labels, as MMSegmentation reads them."""
    pytest.importorskip('mmseg')
    from mmengine.registry import DATASETS

    found = {}
    for part in (data.train, data.val):
        with DATASETS.switch_scope_and_registry('mmseg') as registry:
            config = dict(type='BaseSegDataset', data_root=str(root), serialize_data=False)
            listed = registry.build(
                {**config, **part, **data.common, 'metainfo': dict(classes=data.classes)}
            )
        for number in range(len(listed)):
            item = listed[number]
            with Image.open(item['seg_map_path']) as picture:
                found[Path(item['img_path']).name] = np.asarray(picture)
            assert Path(item['img_path']).is_file()
    return found


COLOURS = np.array([(0, 0, 0), (200, 10, 10), (10, 200, 10)], np.uint8)


@pytest.mark.parametrize(
    ('maps', 'mode', 'splits', 'converted'),
    [
        ('masks', 'L', True, False),
        ('annotations', 'P', True, False),
        ('SegmentationClass', 'P', False, True),
    ],
)
def test_maps_that_are_numbers_stay(
    tmp_path: Path, maps: str, mode: str, splits: bool, converted: bool
) -> None:
    lay.write_maps(tmp_path, maps=maps, mode=mode, splits=splits)
    names = ('ground', 'dark', 'light')
    data = prepare(Request(root=tmp_path, task='segmentation', classes=names))
    assert data.classes == names
    found = found_maps(tmp_path, data)
    for number, name in enumerate(lay.TRUTH):
        np.testing.assert_array_equal(found[name], lay.label_map(number))
    assert (tmp_path / 'converted_segmentation').is_dir() == converted
    assert not list(tmp_path.rglob('converted*/**/*.png'))


CVAT = '# label:color_rgb:parts:actions\nbg:0,0,0::\na:200,10,10::\nb:10,200,10::'
CAMVID = 'name,r,g,b\nbg,0,0,0\na,200,10,10\nb,10,200,10'


@pytest.mark.parametrize(
    ('encode', 'files', 'classes'),
    [
        (lambda m: COLOURS[m], {'labelmap.txt': CVAT}, ('bg', 'a', 'b')),
        (lambda m: COLOURS[m], {'class_dict.csv': CAMVID}, ('bg', 'a', 'b')),
        (lambda m: m * np.uint8(100), {}, ('value_0', 'value_100', 'value_200')),
        (lambda m: m * np.uint16(999), {}, ('value_0', 'value_999', 'value_1998')),
        (lambda m: np.repeat(m[..., None], 3, axis=2), {}, ('class_0', 'class_1', 'class_2')),
    ],
)
def test_other_maps_are_rewritten_beside(
    tmp_path: Path, encode: Callable, files: dict, classes: tuple
) -> None:
    lay.write_maps(tmp_path, maps='masks')
    for name, text in files.items():
        lay.write_text(tmp_path / name, text)
    for number, name in enumerate(lay.TRUTH):
        split = 'val' if number > 3 else 'train'
        path = tmp_path / 'masks' / split / f'{Path(name).stem}.png'
        lay.write_map(path, encode(lay.label_map(number)))
    data = prepare(Request(root=tmp_path, task='segmentation'))
    assert (data.classes, data.counts) == (classes, (4, 2))
    found = found_maps(tmp_path, data)
    for number, name in enumerate(lay.TRUTH):
        np.testing.assert_array_equal(found[name], lay.label_map(number))


@pytest.mark.parametrize(
    ('table', 'names', 'reduced', 'expected'),
    [
        ([0, 255, 255], (), False, (('background', 'object'), False)),
        ([1, 2, 3], (), False, (('class_1', 'class_2', 'class_3'), True)),
        ([1, 2, 3], 'abc', False, (('a', 'b', 'c'), True)),
        ([0, 1, 2], 'ab', True, (('a', 'b'), True)),
        ([0, 1, 255], 'ab', False, (('a', 'b'), False)),
        ([0, 1, 255], (), False, (('class_0', 'class_1'), False)),
        ([0, 1, 2], 'ab', False, 'for 2 names. Mend: --reduce-zero-label'),
        ([0, 1, 9], 'ab', False, 'hold the values 0, 1, 9, and there are 2 names'),
    ],
)
def test_numbering(
    tmp_path: Path, table: list, names: str, reduced: bool, expected: object
) -> None:
    lay.write_maps(tmp_path, maps='labels')
    for path in (tmp_path / 'labels').rglob('*.png'):
        with Image.open(path) as picture:
            values = np.array(table, np.uint8)[np.asarray(picture)]
        lay.write_map(path, values)
    request = Request(
        root=tmp_path, task='segmentation', classes=tuple(names), reduce_zero_label=reduced
    )
    if isinstance(expected, str):
        with pytest.raises(DatasetError, match=expected):
            prepare(request)
        return
    data = prepare(request)
    assert (data.classes, data.common.get('reduce_zero_label', False)) == expected


def test_maps_without_partner_or_table_of_colours(tmp_path: Path) -> None:
    lay.write_maps(tmp_path, maps='masks')
    lay.write_image(tmp_path / 'images' / 'train' / 'alone.jpeg')
    lay.write_map(tmp_path / 'masks' / 'train' / 'lonely.png', lay.label_map(0))
    data = prepare(Request(root=tmp_path, task='segmentation'))
    assert data.counts == (4, 2)
    assert len(found_maps(tmp_path, data)) == 6
    assert [remark.split(' (1): first ')[0] for remark in data.remarks[:2]] == [
        'images without a label map, left out',
        'label maps without an image, left out',
    ]
    for path in (tmp_path / 'masks').rglob('*.png'):
        lay.write_map(path, COLOURS[lay.label_map(0)])
    with pytest.raises(DatasetError, match='3 colours.*labelmap.txt'):
        prepare(Request(root=tmp_path, task='segmentation'))
    next((tmp_path / 'masks').rglob('*.png')).write_bytes(b'\x89PNG')
    with pytest.raises(DatasetError, match='1 x broken label map, first: label map .* decoded'):
        prepare(Request(root=tmp_path, task='segmentation'))
    for path in (tmp_path / 'masks').rglob('*.png'):
        lay.write_map(path, np.full((64, 80), 255, np.uint8))
    with pytest.raises(DatasetError, match='hold 255 alone'):
        prepare(Request(root=tmp_path, task='segmentation'))
    for path in (tmp_path / 'masks').rglob('*.png'):
        path.write_bytes(b'')
    with pytest.raises(DatasetError, match='6 x broken label map, first: .* is empty'):
        prepare(Request(root=tmp_path, task='segmentation'))
