"""A panoptic data set that would be learnt wrongly is refused, by the values and with the mend."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vitadapter_dense.datasets import DatasetError, check_config_datasets, check_dataset_config
from vitadapter_dense.datasets.panoptic_files import (
    decode_panoptic,
    encode_panoptic,
    to_colours,
    to_ids,
)
from vitadapter_dense.datasets.shapes import generate_shapes
from vitadapter_dense.datasets.split_report import report_split

THINGS = ('circle', 'square', 'triangle', 'star', 'cross')
META = dict(classes=(*THINGS, 'background'), thing_classes=THINGS, stuff_classes=('background',))
SPLIT = 'train'
FILE = Path('annotations') / f'panoptic_{SPLIT}.json'
MAPS = Path('panoptic') / SPLIT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generate_shapes(tmp_path, num_train=3, num_val=1, size=64, seed=3)
    return tmp_path


def config_of(root: Path, **changes: Any) -> dict[str, Any]:
    config = dict(
        type='CocoPanopticDataset',
        data_root=str(root),
        metainfo=META,
        ann_file=str(FILE),
        data_prefix=dict(img=f'{SPLIT}/', seg=f'{MAPS}/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=4),
        pipeline=[],
    )
    return config | changes


def change(root: Path, alter: Callable[[dict], object]) -> None:
    content = json.loads((root / FILE).read_text())
    alter(content)
    (root / FILE).write_text(json.dumps(content))


def test_ids_are_the_colours_in_base_256() -> None:
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 8345037, 256**3 - 1]], np.int32)
    red, green, blue = np.moveaxis(to_colours(ids)[..., ::-1].astype(int), -1, 0)
    assert (red + 256 * green + 65536 * blue == ids).all()
    assert (to_ids(to_colours(ids)) == ids).all()
    assert (decode_panoptic(encode_panoptic(ids), name='map') == ids).all()


def test_a_good_set_passes_and_is_counted(root) -> None:
    (summary,) = check_dataset_config(config_of(root))
    content = json.loads((root / FILE).read_text())
    segments = [s for entry in content['annotations'] for s in entry['segments_info']]
    assert (summary.num_images, summary.num_annotations) == (3, len(segments))
    most = max(len(entry['segments_info']) for entry in content['annotations'])
    assert summary.most_objects == most > 1
    assert not summary.warnings
    report = report_split(config_of(root))
    assert (report.unit, report.errors) == ('segments', ())
    assert {name: n for name, n, _ in report.classes}['background'] == 3
    assert sum(n for _, n, _ in report.classes) == len(segments)


def first_segments(content: dict) -> list[dict]:
    return content['annotations'][0]['segments_info']


BAD_FILES = {
    'segments of an unknown category, first: .*77': lambda c: first_segments(c)[0].update(
        category_id=77
    ),
    'segment ids that an image has twice': lambda c: first_segments(c)[1].update(
        id=first_segments(c)[0]['id']
    ),
    'segment ids that no colour can be': lambda c: first_segments(c)[0].update(id=256**3),
    'incomplete segments': lambda c: first_segments(c)[0].pop('bbox'),
    '1 images have no entry of segments': lambda c: c['annotations'].pop(),
    'images with several entries': lambda c: c['annotations'].append(
        dict(copy.deepcopy(c['annotations'][0]), segments_info=[])
    ),
    'entries of an image that is not in the file, first: image_id 99': lambda c: c[
        'annotations'
    ].append(dict(image_id=99, file_name='a.png', segments_info=[])),
    'not named after their image': lambda c: c['annotations'][0].update(file_name='000007.png'),
    'no list .categories': lambda c: c.pop('categories'),
    'has no segments_info': lambda c: c['annotations'][0].pop('segments_info'),
    "'circle' are things in the file .* or in the config": lambda c: c['categories'][0].update(
        isthing=0
    ),
    'holds segments that its JSON does not list': lambda c: first_segments(c).pop(),
    'does not hold segments that its JSON lists': lambda c: first_segments(c).append(
        dict(first_segments(c)[0], id=4711)
    ),
    'pixels, and its JSON says 5': lambda c: first_segments(c)[0].update(area=5),
}


@pytest.mark.parametrize('message', BAD_FILES)
def test_bad_file_is_refused(message, root) -> None:
    change(root, BAD_FILES[message])
    with pytest.raises(DatasetError, match=rf'(?s){message}.*(Mend|mend)'):
        check_dataset_config(config_of(root))


def test_bad_maps_are_summed_up(root) -> None:
    maps = sorted((root / MAPS).iterdir())
    maps[0].unlink()
    maps[1].write_bytes(cv2.imencode('.png', np.zeros((64, 64), np.uint8))[1].tobytes())
    picture = cv2.imread(str(maps[2]))
    cv2.imwrite(str(maps[2]), cv2.resize(picture, (32, 32), interpolation=cv2.INTER_NEAREST))
    with pytest.raises(DatasetError) as caught:
        check_dataset_config(config_of(root))
    text = str(caught.value)
    assert '1 of 3 panoptic maps are missing' in text
    assert 'has 1 x uint8 a pixel, not three bytes' in text
    assert 'is 32 x 32 pixels' in text
    assert report_split(config_of(root)).errors == tuple(text.splitlines())


def test_order_and_filter(root) -> None:
    stuff_first = dict(META, classes=('background', *THINGS))
    change(root, lambda c: c['categories'].insert(0, c['categories'].pop()))
    with pytest.raises(DatasetError, match="'background' is stuff and stands before a thing"):
        check_dataset_config(config_of(root, metainfo=stuff_first))
    change(root, lambda c: c['categories'].append(c['categories'].pop(0)))
    with pytest.raises(DatasetError, match='nothing is left to train on.*min_size'):
        check_dataset_config(config_of(root, filter_cfg=dict(min_size=65)))

    def crowds(content: dict) -> None:
        for segment in first_segments(content):
            segment['iscrowd'] = int(segment['category_id'] != 6)

    change(root, crowds)
    (summary,) = check_dataset_config(config_of(root))
    assert 'have no thing' in summary.warnings[0]
    assert 'crowd regions' in str(summary)


def test_evaluator(root) -> None:
    data = config_of(root, test_mode=True)
    quality = dict(type='PanopticQuality', ann_file=str(root / FILE), seg_prefix=str(root / MAPS))
    instances = dict(type='CocoMetric', ann_file=f'{root}/annotations/instances_{SPLIT}.json')
    head = dict(num_things_classes=5, num_stuff_classes=1)
    model = dict(panoptic_fusion_head=head, test_cfg=dict(panoptic_on=True))
    config = dict(
        model=model, val_dataloader=dict(dataset=data), val_evaluator=[quality, instances]
    )
    check_config_datasets(config, loaders=('val',))
    for wrong, message in (
        (dict(ann_file=str(root / 'annotations/panoptic_val.json')), 'with other images'),
        (dict(seg_prefix=f'{root}/none'), r'seg_prefix .*none is no folder'),
    ):
        config['val_evaluator'] = [quality | wrong, instances]
        with pytest.raises(DatasetError, match=message):
            check_config_datasets(config, loaders=('val',))
    other = dict(instances, ann_file=f'{root}/annotations/instances_val.json')
    config['val_evaluator'] = [quality, other]
    with pytest.raises(DatasetError, match='with other images'):
        check_config_datasets(config, loaders=('val',))
    config['val_evaluator'], model['test_cfg'] = quality, dict(panoptic_on=False)
    with pytest.raises(DatasetError, match='finds no panoptic segments'):
        check_config_datasets(config, loaders=('val',))
