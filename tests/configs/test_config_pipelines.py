"""The pipelines build and do to an image what the original's do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

HEIGHT, WIDTH = 480, 640


@pytest.fixture(scope='module')
def small_coco(tmp_path_factory) -> Path:
    """A data root in COCO's layout: an image with an object and a crowd, and one with nothing."""
    root = tmp_path_factory.mktemp('coco')
    rng = np.random.default_rng(0)
    categories = [dict(id=i, name=name) for i, name in enumerate(coco_classes(), start=1)]
    box = [100.0, 120.0, 200.0, 150.0]
    polygon = [[100.0, 120.0, 300.0, 120.0, 300.0, 270.0, 100.0, 270.0]]
    crowd = dict(size=[HEIGHT, WIDTH], counts=[0, HEIGHT * 50, HEIGHT * (WIDTH - 50)])
    annotations = [
        dict(
            id=1, image_id=1, category_id=1, bbox=box, area=30000.0, iscrowd=0, segmentation=polygon
        ),
        dict(
            id=2,
            image_id=1,
            category_id=2,
            bbox=[0.0, 0.0, 50.0, float(HEIGHT)],
            area=50.0 * HEIGHT,
            iscrowd=1,
            segmentation=crowd,
        ),
    ]
    images = [
        dict(id=i, file_name=f'{i:012d}.jpg', height=HEIGHT, width=WIDTH) for i in range(1, 3)
    ]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        path = root / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(content))
        for image in images:
            pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            cv2.imwrite(str(root / split / image['file_name']), pixels)
    return root


def coco_classes() -> tuple[str, ...]:
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


def build_dataset(cfg: Config, loader: str, root: Path):
    from mmengine.registry import DATASETS

    init_default_scope('mmdet')
    dataset = cfg[loader].dataset.copy()
    dataset.data_root = str(root)
    return DATASETS.build(dataset)


def test_multi_scale_training_pipeline(read_config, small_coco):
    dataset = build_dataset(
        read_config('coco/mask_rcnn_vitadapter_s.py'), 'train_dataloader', small_coco
    )
    assert len(dataset) == 1, 'images without objects are left out of training'
    shorter, longer = set(), set()
    for _ in range(40):
        sample = dataset[0]
        height, width = sample['data_samples'].img_shape
        assert sample['inputs'].dtype == torch.uint8
        assert sample['inputs'].shape == (3, height, width)
        instances = sample['data_samples'].gt_instances
        assert len(instances.masks) == len(instances.bboxes) == len(instances.labels)
        shorter.add(min(height, width))
        longer.add(max(height, width))
    assert max(longer) <= 1024
    assert max(shorter) <= 800
    # A plain resize gives one of eleven shorter sides, the cropped branch sides of other ratios.
    assert len(shorter) > 5
    assert shorter & set(range(480, 801, 32))


def test_single_scale_training_pipeline(read_config, small_coco):
    dataset = build_dataset(
        read_config('coco/mask_rcnn_vitadapter_s_1x.py'), 'train_dataloader', small_coco
    )
    sample = dataset[0]
    assert sample['data_samples'].img_shape == (800, 1067)
    crowds = sample['data_samples'].ignored_instances
    assert len(crowds) == 1
    x1, y1, x2, y2 = sample['data_samples'].gt_instances.bboxes.tensor[0].tolist()
    assert (y1, y2) == pytest.approx((200, 450), abs=0.1)
    assert x2 - x1 == pytest.approx(200 * 1067 / 640, abs=0.1)


def test_validation_keeps_the_boxes_of_the_original_image(read_config, small_coco):
    dataset = build_dataset(
        read_config('coco/mask_rcnn_vitadapter_s.py'), 'val_dataloader', small_coco
    )
    assert len(dataset) == 2, 'images without objects count in the evaluation'
    sample = dataset[0]['data_samples']
    assert sample.ori_shape == (HEIGHT, WIDTH)
    assert sample.img_shape == (800, 1067)
    assert sample.gt_instances.bboxes.tensor[0].tolist() == [100, 120, 300, 270]


def test_test_time_augmentation_gives_every_view(read_config, small_coco):
    cfg = read_config('coco/mask_rcnn_vitadapter_s.py')
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    views = build_dataset(cfg, 'test_dataloader', small_coco)[0]['data_samples']
    seen = {(min(view.img_shape), view.flip) for view in views}
    assert seen == {(side, flip) for side in (600, 800, 1000) for flip in (False, True)}


def test_all_data_pipelines_of_all_configs_build(config, read_config):
    from mmcv.transforms import Compose

    cfg = read_config(config)
    init_default_scope(cfg.default_scope)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert Compose(cfg[loader].dataset.pipeline).transforms


def test_real_coco_goes_through_the_training_pipeline(read_config, real_data):
    cfg = read_config('coco/mask_rcnn_vitadapter_s.py')
    dataset = build_dataset(cfg, 'train_dataloader', real_data / 'coco_tiny')
    for index in range(0, len(dataset), max(1, len(dataset) // 5)):
        sample = dataset[index]
        assert sample['inputs'].shape[1:] == sample['data_samples'].img_shape
        assert max(sample['data_samples'].img_shape) <= 1024
