"""The generator on the disk: same bytes always, completed after a kill, read by the toolboxes."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shutil
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from vitadapter_dense.datasets import DatasetError, check_coco_annotations, shapes
from vitadapter_dense.datasets.panoptic_files import decode_panoptic, read_panoptic_file
from vitadapter_dense.datasets.shapes import SHAPES_CLASSES, SHAPES_METAINFO, generate_shapes
from vitadapter_dense.datasets.shapes_page import draw_sample_page

SMALL = dict(num_train=14, num_val=5, size=(96, 128), seed=7)
MAKE_SHAPES = Path(__file__).parents[2] / 'tools' / 'dataset' / 'make_shapes.py'


@pytest.fixture(scope='module')
def small_set(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('shapes') / 'set'
    assert generate_shapes(root, **SMALL)
    return root


def _contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def test_layout(small_set):
    files = set(_contents(small_set))
    for split, number in (('train', 14), ('val', 5)):
        assert f'annotations/instances_{split}.json' in files
        assert sum(name.startswith(f'{split}/') for name in files) == number
        assert sum(name.startswith(f'semantic/{split}/') for name in files) == number
        assert f'annotations/panoptic_{split}.json' in files
        assert sum(name.startswith(f'panoptic/{split}/') for name in files) == number
    assert len(files) == 4 + 3 * 19 + 1  # and nothing else but the parameters


def test_same_bytes_for_any_number_of_workers_and_chunks(small_set, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, '_CHUNK', 3)
    generate_shapes(tmp_path / 'again', **SMALL, workers=3)
    assert _contents(tmp_path / 'again') == _contents(small_set)


def test_same_pictures_for_any_number_of_pictures(small_set, tmp_path):
    generate_shapes(tmp_path / 'fewer', **{**SMALL, 'num_train': 4, 'num_val': 1})
    few, many = _contents(tmp_path / 'fewer'), _contents(small_set)
    pictures = [name for name in few if not name.endswith('.json')]
    assert len(pictures) == 15
    assert all(few[name] == many[name] for name in pictures)


def test_complete_set_is_left_alone(small_set):
    before = {path: path.stat().st_mtime_ns for path in small_set.rglob('*')}
    assert not generate_shapes(small_set, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in small_set.rglob('*')} == before


def test_lost_file_is_written_again(tmp_path):
    generate_shapes(tmp_path, num_train=2, num_val=1, size=64)
    before = _contents(tmp_path)
    (tmp_path / 'train' / '000001.jpg').unlink()
    assert generate_shapes(tmp_path, num_train=2, num_val=1, size=64)
    assert _contents(tmp_path) == before


def test_set_of_before_gets_its_panoptic_files(small_set, tmp_path):
    """0.1 wrote none: nothing else is touched, and a set that is whole again is left alone."""
    root = tmp_path / 'old'
    shutil.copytree(small_set, root)
    shutil.rmtree(root / 'panoptic')
    (root / 'annotations' / 'panoptic_val.json').unlink()
    before = {path: path.stat().st_mtime_ns for path in (root / 'train').iterdir()}
    assert generate_shapes(root, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in (root / 'train').iterdir()} == before
    assert _contents(root) == _contents(small_set)
    assert not generate_shapes(root, **SMALL)


def test_panoptic_maps_are_objects_and_background(small_set):
    """Against the semantic maps and the instances, which are written by other means."""
    for split in ('train', 'val'):
        panoptic = read_panoptic_file(small_set / 'annotations' / f'panoptic_{split}.json')
        names = {category['id']: category['name'] for category in panoptic.categories}
        assert list(names.values()) == [*SHAPES_CLASSES, 'background']
        instances = json.loads((small_set / 'annotations' / f'instances_{split}.json').read_text())[
            'annotations'
        ]
        for image_id, image in panoptic.images.items():
            map_file = small_set / 'panoptic' / split / image.file_name
            ids = decode_panoptic(map_file.read_bytes(), name='map')
            semantic = cv2.imread(str(small_set / 'semantic' / split / image.file_name), -1)
            assert set(np.unique(ids).tolist()) == set(image.segments)
            for identity, segment in image.segments.items():
                values = np.unique(semantic[ids == identity])
                assert values.tolist() == [segment['category_id'] % 6]  # the background is 6
                assert segment['area'] == (ids == identity).sum()
            own = [(a['category_id'], a['area']) for a in instances if a['image_id'] == image_id]
            things = [(s['category_id'], s['area']) for s in image.segments.values()]
            assert sorted(own) == sorted(item for item in things if item[0] != 6)


def test_other_parameters_need_overwrite(tmp_path):
    generate_shapes(tmp_path, num_train=3, num_val=1, size=64)
    before = _contents(tmp_path)
    with pytest.raises(DatasetError, match=r'seed: 0 there, 1 asked for.*--overwrite'):
        generate_shapes(tmp_path, num_train=3, num_val=1, size=64, seed=1)
    assert _contents(tmp_path) == before
    assert generate_shapes(tmp_path, num_train=2, num_val=1, size=64, seed=1, overwrite=True)
    assert len(list((tmp_path / 'train').iterdir())) == 2


def test_never_overwrites_something_else(tmp_path):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train' / 'mine.jpg').write_bytes(b'mine')
    with pytest.raises(DatasetError, match='holds no generated shapes'):
        generate_shapes(tmp_path, num_train=1, num_val=1, size=64, overwrite=True)
    assert (tmp_path / 'train' / 'mine.jpg').read_bytes() == b'mine'


@pytest.mark.parametrize(
    'wrong', [dict(num_train=0), dict(num_val=-1), dict(size=40), dict(seed=-1), dict(workers=0)]
)
def test_arguments_out_of_range(tmp_path, wrong):
    key, value = next(iter(wrong.items()))
    with pytest.raises(DatasetError, match=f'{key}={value}'):
        generate_shapes(tmp_path / 'set', **wrong)
    assert not (tmp_path / 'set').exists()


def _generate_and_die(root: Path, pictures: int) -> None:
    """In a child process: stop dead in the middle of writing a picture."""
    write, written = shapes._write_image, []

    def write_some(path: Path, image: np.ndarray, options: list[int]) -> None:
        if len(written) == pictures:
            path.write_bytes(b'half a picture')
            os.kill(os.getpid(), signal.SIGKILL)
        written.append(path)
        write(path, image, options)

    shapes._write_image = write_some
    generate_shapes(root, **SMALL)


def test_killed_generation_is_completed(small_set, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, '_CHUNK', 4)
    root = tmp_path / 'killed'
    context = multiprocessing.get_context('fork')
    process = context.Process(target=_generate_and_die, args=(root, 13))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not list(root.glob('annotations/*.json'))  # nothing that looks finished
    assert not json.loads((root / 'shapes.json').read_text())['complete']
    first = (root / 'train' / '000000.jpg').stat().st_mtime_ns

    done = []
    assert generate_shapes(root, **SMALL, progress=lambda n, total: done.append((n, total)))
    assert done[-1] == (19, 19)
    assert _contents(root) == _contents(small_set)
    assert (root / 'train' / '000000.jpg').stat().st_mtime_ns == first  # finished chunks are kept


def test_round_trip_through_pycocotools(small_set):
    from pycocotools.coco import COCO

    for split, number in (('train', 14), ('val', 5)):
        coco = COCO(str(small_set / 'annotations' / f'instances_{split}.json'))
        assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(SHAPES_CLASSES)
        assert len(coco.imgs) == number
        for image_id, info in coco.imgs.items():
            image = cv2.imread(str(small_set / split / info['file_name']))
            assert image.shape == (info['height'], info['width'], 3) == (96, 128, 3)
            name = info['file_name'].replace('.jpg', '.png')
            semantic = cv2.imread(str(small_set / 'semantic' / split / name), cv2.IMREAD_UNCHANGED)
            assert semantic.dtype == np.uint8
            expected = np.zeros_like(semantic)
            for annotation in coco.imgToAnns[image_id]:
                mask = coco.annToMask(annotation)
                assert mask.sum() == annotation['area']
                x, y, w, h = annotation['bbox']
                assert mask[y : y + h, x : x + w].sum() == annotation['area']
                assert cv2.boundingRect(mask) == (x, y, w, h)
                assert annotation['iscrowd'] == 0
                expected[mask > 0] = annotation['category_id']
            np.testing.assert_array_equal(semantic, expected)


def test_written_pictures_are_the_drawn_ones(small_set):
    scene = shapes.draw_scene(7, 'val', 3, size=(96, 128))
    written = cv2.imread(str(small_set / 'val' / '000003.jpg'))
    assert np.abs(written.astype(int) - scene.image).mean() < 12  # JPEG of noisy colours


def test_check_accepts_it(small_set):
    summary = check_coco_annotations(
        small_set / 'annotations' / 'instances_train.json',
        small_set / 'train',
        SHAPES_CLASSES,
        masks=True,
        evaluated=True,
    )
    assert summary.num_images == 14
    assert not summary.oddities


def test_mmdet_reads_it(small_set):
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    dataset = CocoDataset(
        data_root=str(small_set),
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/', seg='semantic/train/'),
        metainfo=SHAPES_METAINFO,
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=[
            dict(type='LoadImageChecked'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True, with_seg=True),
        ],
    )
    assert len(dataset) == 14
    for sample in dataset:
        assert sample['img'].shape == (96, 128, 3)
        masks, labels = sample['gt_masks'].masks, sample['gt_bboxes_labels']
        assert len(masks) == len(labels) == len(sample['instances']) > 0
        assert not sample['gt_ignore_flags'].any()
        for mask, label in zip(masks, labels, strict=True):
            assert mask.any()
            assert (sample['gt_seg_map'][mask > 0] == label + 1).all()
    names = {SHAPES_CLASSES[i['bbox_label']] for sample in dataset for i in sample['instances']}
    assert len(names) == len(SHAPES_CLASSES)


def test_page(small_set):
    page = draw_sample_page(small_set, rows=2, columns=1)
    assert page.ndim == 3
    assert page.std() > 30
    with pytest.raises(DatasetError, match='generate the set first'):
        draw_sample_page(small_set, split='test')


def test_command_line(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'set'
    command = [str(MAKE_SHAPES), str(out), '--num-train', '3', '--num-val', '2']
    command += ['--size', '64', '96', '--workers', '1']
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(sys, 'argv', command)
    runpy.run_path(str(MAKE_SHAPES), run_name='__main__')
    assert '3 + 2 images' in capsys.readouterr().out
    assert cv2.imread(str(out / 'samples.png')) is not None
    assert cv2.imread(str(out / 'val' / '000001.jpg')).shape == (64, 96, 3)
    runpy.run_path(str(MAKE_SHAPES), run_name='__main__')
    assert 'complete already' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [*command, '--seed', '5'])
    with pytest.raises(SystemExit, match='made with other parameters'):
        runpy.run_path(str(MAKE_SHAPES), run_name='__main__')
