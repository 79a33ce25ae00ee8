"""Panoptic files that are made from instances: what is in front, what is left, what is refused."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_files import coco_content, write_coco
from mmengine.registry import DATASETS

from vitadapter_dense.datasets import DatasetError, LoadPanopticChecked, check_dataset_config
from vitadapter_dense.datasets.panoptic_files import decode_panoptic, read_panoptic_file
from vitadapter_dense.datasets.panoptic_from_instances import make_panoptic
from vitadapter_dense.datasets.semantic_from_instances import frequent_classes, make_semantic

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset' / 'make_panoptic.py'


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    """A large object, a small one on it, one that is covered whole, and a crowd behind."""
    content = coco_content(
        [[10, 10, 50, 40], [20, 20, 10, 10], [20, 20, 10, 10], [0, 0, 100, 20]], per_image=4
    )
    content['annotations'][3]['iscrowd'] = 1
    content['annotations'][1]['area'] = 99  # smaller, and so before the one at the same place
    write_coco(tmp_path, 'val', content)
    file = tmp_path / 'instances_val.json'
    file.write_text(json.dumps(content))
    return file


def test_smaller_objects_are_in_front_and_crowds_behind(instances) -> None:
    root = instances.parent
    made, maps, labels = root / 'panoptic_val.json', root / 'panoptic_val', root / 'labels'
    make_panoptic(instances, made, maps, stuff=['sky', 'grass'], rest='grass', label_dir=labels)
    panoptic = read_panoptic_file(made)
    assert [(c['id'], c['name'], c['isthing']) for c in panoptic.categories] == [
        (1, 'cat', 1),
        (2, 'dog', 1),
        (3, 'sky', 0),
        (4, 'grass', 0),
    ]
    (image,) = panoptic.images.values()
    ids = decode_panoptic((maps / image.file_name).read_bytes(), name='map')
    expected = np.full((80, 100), 5)
    expected[:20] = 4
    expected[10:50, 10:60] = 1
    expected[20:30, 20:30] = 2
    np.testing.assert_array_equal(ids, expected)
    kinds = {key: (s['category_id'], s['iscrowd']) for key, s in image.segments.items()}
    assert kinds == {1: (1, 0), 2: (2, 0), 4: (2, 1), 5: (4, 0)}, 'the covered one has no segment'
    assert image.segments[1]['bbox'] == [10, 10, 50, 40]
    assert image.segments[1]['area'] == 50 * 40 - 100
    value = cv2.imread(str(labels / image.file_name), cv2.IMREAD_UNCHANGED)
    assert value.dtype == np.uint8
    assert [value[r, c] for r, c in ((0, 0), (15, 15), (25, 25), (79, 99))] == [255, 0, 1, 3]


def test_semantic_maps_of_some_classes(instances) -> None:
    assert frequent_classes(instances, 2) == ['cat', 'dog'], 'two objects each, by their number'
    make_semantic(instances, instances.parent / 'maps', ['dog'])
    (file,) = (instances.parent / 'maps').glob('*.png')
    expected = np.full((80, 100), 1)
    expected[:20] = 255  # the crowd, of dogs
    expected[10:50, 10:60] = 1
    expected[20:30, 20:30] = 0
    np.testing.assert_array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), expected)
    for refused in (
        lambda: frequent_classes(instances, 3),
        lambda: make_semantic(instances, instances.parent / 'maps', ['dogs']),
    ):
        with pytest.raises(DatasetError, match=r'instances_val\.json'):
            refused()


def test_images_of_any_ending_find_their_map(instances) -> None:
    """MMDetection makes a map's name of the image's, and knows of .jpg alone."""
    root, content = instances.parent, json.loads(instances.read_text())
    content['images'][0]['file_name'] = '0.JPG'
    write_coco(root, 'val', content)
    instances.write_text(json.dumps(content))
    make_panoptic(instances, root / 'p.json', root / 'p', stuff=['sky'], rest='sky')
    things = ('cat', 'dog')
    meta = dict(classes=(*things, 'sky'), thing_classes=things, stuff_classes=('sky',))
    cfg = dict(type='CocoPanopticDataset', data_root=str(root), ann_file='p.json', metainfo=meta)
    cfg.update(data_prefix=dict(img='val', seg='p'), filter_cfg=None)
    check_dataset_config(dict(cfg, pipeline=[]))
    (sample,) = DATASETS.build(dict(cfg, type=f'mmdet.{cfg["type"]}', pipeline=[]))
    assert LoadPanopticChecked()(dict(sample, ori_shape=(80, 100)))['gt_seg_map'].max() == 2


def test_without_a_rest_pixels_are_void(instances) -> None:
    root = instances.parent
    make_panoptic(instances, root / 'p.json', root / 'p')
    (image,) = read_panoptic_file(root / 'p.json').images.values()
    ids = decode_panoptic((root / 'p' / image.file_name).read_bytes(), name='map')
    assert ids[79, 99] == 0
    assert 'made from instances' in json.loads((root / 'p.json').read_text())['info']['description']


def test_what_cannot_be_made_is_refused(instances) -> None:
    root = instances.parent
    with pytest.raises(DatasetError, match=r"rest='sea' is none of the stuff classes \['sky'\]"):
        make_panoptic(instances, root / 'p.json', root / 'p', stuff=['sky'], rest='sea')
    with pytest.raises(DatasetError, match="'cat' would be two classes"):
        make_panoptic(instances, root / 'p.json', root / 'p', stuff=['cat'])
    (root / 'p.json').write_text(json.dumps(dict(info=dict(description='COCO 2018 Panoptic'))))
    with pytest.raises(DatasetError, match='was not made from instances: nothing was written'):
        make_panoptic(instances, root / 'p.json', root / 'p')
    content = json.loads(instances.read_text())
    for change, said in (
        (lambda c: c['categories'][0].update(id=0), 'category id 0 does not fit a map of bytes'),
        (lambda c: c['annotations'][1].update(category_id=7), 'annotation 2 .* unknown category 7'),
        (lambda c: c['annotations'][1].pop('area'), "an entry of 'annotations' has no area"),
    ):
        changed = json.loads(json.dumps(content))
        changed['annotations'][0]['category_id'] = changed['categories'][0]['id']
        change(changed)
        for annotation in changed['annotations'][::2]:
            annotation['category_id'] = changed['categories'][0]['id']
        instances.write_text(json.dumps(changed))
        with pytest.raises(DatasetError, match=said):
            make_panoptic(instances, root / 'q.json', root / 'p', label_dir=root / 'l')
    del content['annotations'][0]['segmentation']
    instances.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r'1 annotations have no mask.*first id 1'):
        make_panoptic(instances, root / 'q.json', root / 'p')
    with pytest.raises(DatasetError, match='cannot be read'):
        make_panoptic(root / 'nowhere.json', root / 'q.json', root / 'p')
    assert not (root / 'p').exists()


def test_command_line(instances, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, 'path', list(sys.path))
    command = [str(TOOL), str(instances), '--stuff', 'sky', '--rest', 'sky']
    monkeypatch.setattr(sys, 'argv', command)
    for _ in range(2):  # what it has made, it makes again
        runpy.run_path(str(TOOL), run_name='__main__')
    assert 'Made from instances' in capsys.readouterr().out
    assert (
        read_panoptic_file(instances.parent / 'panoptic_val.json').categories[-1]['name'] == 'sky'
    )
    monkeypatch.setattr(sys, 'argv', [*command, '--rest', 'sea'])
    with pytest.raises(SystemExit, match='sea'):
        runpy.run_path(str(TOOL), run_name='__main__')
