"""The data sets of classifiers: made-up tiny copies of each, looked at before a training."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from tiny_detection import ROOT, run_tool

import vitadapter_dense
from vitadapter_dense import VTAB_TASKS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('mmpretrain') is None, reason='needs MMPretrain (classification)'
)
CONFIG = (
    "_base_ = ['{root}/_base_/datasets/{name}.py', '{root}/_base_/runtime/classification.py']\n"
)
GENERATOR = np.random.default_rng(0)


def image(file: Path, side: int = 9) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), GENERATOR.integers(0, 255, (side, side, 3), dtype=np.uint8))


def write(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('\n'.join(lines) + '\n')


def listed(folder: Path, split: str, labels: list[int], images: str) -> None:
    lines = []
    for number, label in enumerate(labels):
        image(folder / images / f'{split}_{number}.jpg')
        name = f'{split}_{number}.jpg' if images != 'pictures' else f'pictures/{split}_{number}.jpg'
        lines.append(f'{name} {label}')
    write(folder / f'{split}.txt', lines)


def make_vtab(folder: Path) -> None:
    for split, count in (('train800', 4), ('val200', 2), ('test', 3)):
        listed(folder, split, [99 - n for n in range(count)], 'pictures')


def make_lists(folder: Path) -> None:
    for split in ('train', 'val', 'test'):
        listed(folder, split, [0, 1, 1], 'images')
    (folder / 'classes.txt').write_text('spaniel\nhusky\n')


def make_subset(folder: Path) -> None:
    for name in ('n01498041', 'n01498041', 'n15075141'):
        image(folder / name / f'{GENERATOR.integers(1 << 30)}.jpg')


def make_corrupted(folder: Path) -> None:
    make_subset(folder / 'gaussian_noise' / '3')


def make_cifar(folder: Path) -> None:
    labels = [label for n in range(200) for label in range(100)]
    for split, count in (('train', 20_000), ('test', 100)):
        data = np.zeros((count, 3 * 32 * 32), np.uint8)
        data[:, : 32 * 32] = 255  # red
        file = folder / 'cifar-100-python' / split
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(dict(data=data, fine_labels=labels[:count])))


def make_caltech(folder: Path) -> None:
    for split, numbers in (('train', (0, 1)), ('test', (2, 3))):
        for number in numbers:
            image(folder / '101_ObjectCategories' / 'ant' / f'{number}.jpg')
        write(folder / 'meta' / f'{split}.txt', [f'ant/{number}.jpg 8' for number in numbers])


def make_pets(folder: Path) -> None:
    for split, number in (('trainval', 1), ('test', 2)):
        image(folder / 'images' / f'Bengal_{number}.jpg')
        write(folder / 'annotations' / f'{split}.txt', [f'Bengal_{number} 6 1 2'])


def make_flowers(folder: Path) -> None:
    import mat4py

    for number in (1, 2, 3):
        image(folder / 'jpg' / f'image_{number:05}.jpg')
    mat4py.savemat(str(folder / 'imagelabels.mat'), dict(labels=[1, 77, 1]))
    splits = dict(trnid=[1, 2], valid=[2, 3], tstid=[3, 1])
    mat4py.savemat(str(folder / 'setid.mat'), splits)


def make_cub(folder: Path) -> None:
    names = [f'001.Black_footed_Albatross/{number}.jpg' for number in range(3)]
    for name in names:
        image(folder / 'images' / name)
    write(folder / 'images.txt', [f'{n} {name}' for n, name in enumerate(names, 1)])
    write(folder / 'image_class_labels.txt', [f'{n} 1' for n in (1, 2, 3)])
    write(folder / 'train_test_split.txt', ['1 1', '2 1', '3 0'])


def make_cars(folder: Path) -> None:
    import mat4py

    names = [f'car_ims/{number:06}.jpg' for number in (1, 2, 3)]
    for name in names:
        image(folder / name)
    annotations = dict(relative_im_path=names, test=[0, 0, 1])
    annotations['class'] = [3, 3, 3]
    mat4py.savemat(str(folder / 'cars_annos.mat'), dict(annotations=annotations))


def counted(printed: str, split: str) -> dict[str, int]:
    """Images of each class of a split that a check has printed, as far as it has any."""
    part = printed.partition(f'\n{split}: ')[2].partition('\n\n')[0]
    rows = [line.rsplit(maxsplit=3) for line in part.splitlines()[2:]]
    found = {row[0].strip(): int(row[1]) for row in rows if len(row) == 4 and row[2].endswith('%')}
    return {name: count for name, count in found.items() if count}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'make', 'expected'),
    [
        ('vtab1k', make_vtab, dict(train=dict.fromkeys(('96', '97', '98', '99'), 1))),
        ('lists_224', make_lists, dict(train=dict(spaniel=1, husky=2))),
        ('imagenet_a', make_subset, dict(test={'stingray': 2, 'toilet tissue': 1})),
        ('imagenet_c', make_corrupted, dict(test={'stingray': 2, 'toilet tissue': 1})),
        ('cifar100_lt', make_cifar, dict(train=dict(apple=200, worm=2))),
        ('caltech101', make_caltech, dict(train=dict(ant=2), val=dict(ant=2))),
        ('oxford_pets', make_pets, dict(train=dict(Bengal=1))),
        ('flowers102', make_flowers, dict(test={'1': 2})),
        ('cub200', make_cub, dict(train={'Black_footed_Albatross': 2})),
        ('stanford_cars', make_cars, dict(train={'Acura TL Sedan 2012': 2})),
    ],
)
def test_tiny_copies_are_counted_and_read(
    name: str,
    make: Callable[[Path], None],
    expected: dict[str, dict[str, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mmpretrain.datasets.cifar as cifar

    monkeypatch.setattr(cifar, 'check_md5', lambda *_: True)
    make(tmp_path / 'data')
    config = tmp_path / f'{name}.py'
    config.write_text(CONFIG.format(root=ROOT / 'configs', name=name))
    options = ['--data-root', tmp_path / 'data', '--out', tmp_path / 'p.png', '--workers', 1]
    status, printed = run_tool('dataset/check_dataset.py', config, *options)
    assert status == 0, printed
    for split, counts in expected.items():
        found = counted(printed, split)
        assert found.items() >= counts.items(), printed
        assert len(found) == (100 if name == 'cifar100_lt' else len(counts))
    if name == 'cifar100_lt':
        cfg = Config.fromfile(config)
        pipeline = [*cfg.test_pipeline[:1]]
        dataset = dict(cfg.val_dataloader.dataset, data_root=str(tmp_path / 'data'))
        from mmengine.registry import DATASETS

        with DATASETS.switch_scope_and_registry('mmpretrain') as registry:
            first = registry.build(dict(dataset, pipeline=pipeline))[0]
        assert first['img'][0, 0].tolist() == [0, 0, 255]  # as a file's: blue, green, red
        return
    broken = next(path for path in sorted((tmp_path / 'data').rglob('*.jpg')))
    broken.write_bytes(broken.read_bytes()[:40])
    status, printed = run_tool('dataset/check_dataset.py', config, *options)
    assert status == 1
    assert broken.name in printed


def test_vtab_has_nineteen_tasks_in_three_groups() -> None:
    groups = [group for group, _ in VTAB_TASKS.values()]
    assert [groups.count(g) for g in ('natural', 'specialized', 'structured')] == [7, 4, 8]
    assert 'VTAB_TASKS' in vitadapter_dense.__all__
