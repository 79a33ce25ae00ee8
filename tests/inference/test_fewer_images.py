"""Some images of a test set: spread over it, with their objects, for data set and metric alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.inference.fewer_images import take_images


def coco_config(folder: Path, *, images: int) -> Config:
    content = dict(
        images=[dict(id=10 + n, file_name=f'{n}.png', width=9, height=9) for n in range(images)],
        annotations=[dict(id=n, image_id=10 + n % images) for n in range(2 * images)],
        categories=[dict(id=1, name='dog')],
    )
    (folder / 'val.json').write_text(json.dumps(content))
    leaf = dict(type='CocoDataset', data_root=str(folder), ann_file='val.json')
    evaluator = dict(type='CocoMetric', ann_file=str(folder / 'val.json'))
    loader = dict(dataset=dict(type='RepeatDataset', times=1, dataset=leaf))
    return Config(dict(test_dataloader=loader, test_evaluator=[evaluator]))


def test_a_coco_file_is_cut_for_data_set_and_metric(tmp_path: Path) -> None:
    cfg = coco_config(tmp_path, images=9)
    take_images(cfg, 3, folder=tmp_path / 'out', command='robustness')
    path = cfg.test_dataloader.dataset.dataset.ann_file
    assert cfg.test_evaluator[0].ann_file == path == str(tmp_path / 'out' / 'val_3_images.json')
    content = json.loads(Path(path).read_text())
    assert [image['id'] for image in content['images']] == [10, 14, 18]
    assert [one['image_id'] for one in content['annotations']] == [10, 14, 18] * 2
    assert content['categories'] == [dict(id=1, name='dog')]
    whole = coco_config(tmp_path, images=2)
    take_images(whole, 7, folder=tmp_path, command='robustness')
    kept = json.loads(Path(whole.test_evaluator[0].ann_file).read_text())
    assert len(kept['images']) == 2


def test_other_sets_are_given_the_numbers(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f'{number}.png').touch()
    leaf = dict(type='ListedImages', data_root=str(tmp_path))
    cfg = Config(dict(test_dataloader=dict(dataset=leaf), test_evaluator=dict(type='X')))
    take_images(cfg, 2, folder=tmp_path, command='robustness')
    assert cfg.test_dataloader.dataset.indices == [0, 5]  # of both classes


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    cfg = coco_config(tmp_path, images=2)
    leaf = cfg.test_dataloader.dataset.dataset
    two = dict(type='ConcatDataset', datasets=[leaf, leaf])
    both = Config(dict(test_dataloader=dict(dataset=two), test_evaluator=cfg.test_evaluator))
    with pytest.raises(DatasetError, match='several data sets'):
        take_images(both, 1, folder=tmp_path, command='robustness')
    (tmp_path / 'val.json').write_text('[]')
    with pytest.raises(DatasetError, match=r'val\.json is no COCO file'):
        take_images(cfg, 1, folder=tmp_path, command='robustness')
