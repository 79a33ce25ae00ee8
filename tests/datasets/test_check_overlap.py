"""Images that are trained on and evaluated on are counted, by path or by what they are."""

from __future__ import annotations

import shutil

import pytest
from coco_files import coco_content, write_coco
from mmengine.config import ConfigDict

from vitadapter_dense.datasets import check_config_datasets
from vitadapter_dense.datasets.check_overlap import count_shared

BOXES = [[10, 10, 40, 30]] * 6


@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize('shared', [0, 2, 4])
def test_shared_images_are_said_once(shared, wrapped, tmp_path) -> None:
    train = write_coco(tmp_path, 'train', coco_content(BOXES), seed=1)
    val = write_coco(tmp_path, 'val', coco_content(BOXES[:4]), seed=2)
    for number in range(shared):  # a copy in another folder
        shutil.copy(tmp_path / f'train/{number}.jpg', tmp_path / f'val/{number}.jpg')
    if wrapped:
        train = dict(type='RepeatDataset', times=3, dataset=train)
        train = dict(type='ConcatDataset', datasets=[train])
    loader = dict(dataset=dict(val, test_mode=True))
    cfg = ConfigDict(
        train_dataloader=dict(dataset=train), val_dataloader=loader, test_dataloader=loader
    )
    said = [text for _, text in check_config_datasets(cfg) if 'images of training' in text]
    whole = 'all 4' if shared == 4 else f'{shared} of the 4'
    assert [text.split(' are ')[0] for text in said] == [f'{whole} images of val and test'] * bool(
        shared
    )


def test_paths_names_sizes_and_contents(tmp_path) -> None:
    contents = {'a/1': b'one', 'b/1': b'one', 'b/2': b'two', 'a/2': b'owt', 'a/3': b'one'}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    train = [f'{tmp_path}/a/{name}' for name in ('1', '2', '3', 'gone')]
    assert count_shared([f'{tmp_path}/b/1', f'{tmp_path}/b/2'], train) == 1
    assert count_shared([f'{tmp_path}/b/../a/2', f'{tmp_path}/b/2'], train) == 1
    assert count_shared([f'{tmp_path}/c/gone'], train) == 0
    assert count_shared([], train) == count_shared(train, []) == 0
