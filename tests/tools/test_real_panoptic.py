"""Panoptic segmentation on COCO's images: files from their instances, training, resume, test.

Set VITADAPTER_REAL_DATA to a folder with `coco_tiny/` to run it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_detection import losses_by_iteration, run_script

from vitadapter_dense.datasets.panoptic_files import decode_panoptic, read_panoptic_file
from vitadapter_dense.datasets.panoptic_from_instances import make_panoptic
from vitadapter_dense.reports.panoptic_metric import INSTANCE_OFFSET, PanopticQuality

CONFIG = 'configs/coco/mask2former_vitadapter_b_dinov2_panoptic.py'
REST = 'wall-other-merged'
OPTIONS = [
    'model.backbone.encoder.pretrained=False',
    'model.backbone.encoder.embed_dim=96',
    'model.backbone.encoder.depth=4',
    'model.backbone.encoder.num_heads=3',
    'model.backbone.encoder.window_sizes=[4,None,4,None]',
    'model.backbone.deform_num_heads=3',
    'model.panoptic_head.in_channels=[96,96,96,96]',
    'model.panoptic_head.pixel_decoder.encoder.num_layers=1',
    'model.panoptic_head.transformer_decoder.num_layers=1',
    'model.panoptic_head.num_queries=60',
    'optim_wrapper.paramwise_cfg.num_layers=4',
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=4',
    'param_scheduler.0.end=4',
    'param_scheduler.0.milestones=[3]',
    'train_dataloader.dataset.indices=12',
    'train_dataloader.num_workers=1',
    'train_dataloader.dataset.pipeline.3.transforms.0.0.scales=[(256,160)]',
    'train_dataloader.dataset.pipeline.3.transforms.1.0.scales=[(256,160)]',
    'train_dataloader.dataset.pipeline.3.transforms.1.2.scales=[(256,160)]',
    'val_dataloader.dataset.indices=4',
    'val_dataloader.num_workers=1',
    'val_dataloader.dataset.pipeline.1.scale=(256,160)',
    'test_dataloader.dataset.indices=4',
    'test_dataloader.num_workers=1',
    'test_dataloader.dataset.pipeline.1.scale=(256,160)',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=2',
    'log_processor.window_size=1',
]


@pytest.fixture(scope='module')
def panoptic_coco(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO's images by links, and panoptic files that are made from its instances."""
    from mmdet.datasets import CocoPanopticDataset

    source, root = real_data / 'coco_tiny', tmp_path_factory.mktemp('coco')
    (root / 'annotations').mkdir()
    stuff = CocoPanopticDataset.METAINFO['stuff_classes']
    for split in ('train2017', 'val2017'):
        (root / split).symlink_to(source / split)
        instances = root / 'annotations' / f'instances_{split}.json'
        instances.symlink_to(source / 'annotations' / instances.name)
        made = root / 'annotations' / f'panoptic_{split}'
        make_panoptic(instances, made.with_suffix('.json'), made, stuff=stuff, rest=REST)
    return root


@pytest.mark.slow
def test_the_truth_has_a_quality_of_one(panoptic_coco: Path) -> None:
    """Crowds, void and overlaps of real annotations included; a class less, and it falls."""
    file, maps = (panoptic_coco / 'annotations' / f'panoptic_val2017{s}' for s in ('.json', ''))
    truth = read_panoptic_file(file)
    images = dict(list(truth.images.items())[:20])
    metric = PanopticQuality(str(file), str(maps))
    classes = tuple(category['name'] for category in truth.categories)
    things = tuple(category['name'] for category in truth.categories if category['isthing'])
    metric.dataset_meta = dict(classes=classes, thing_classes=things)
    numbers = {category['id']: number for number, category in enumerate(truth.categories)}
    for left_out in (None, classes.index('person')):
        for image_id, image in images.items():
            ids = decode_panoptic((maps / image.file_name).read_bytes(), name=image.file_name)
            found = np.full(ids.shape, len(classes))
            for k, (identity, segment) in enumerate(image.segments.items(), start=1):
                label = numbers[segment['category_id']]
                if label != left_out:
                    number = k if label < len(things) else 0
                    found[ids == identity] = label + INSTANCE_OFFSET * number
            found = torch.from_numpy(found)[None]
            sample = dict(img_id=image_id, img_path='', pred_panoptic_seg=dict(sem_seg=found))
            metric.process(None, [sample])
        figures = metric.evaluate(len(images))
        if left_out is None:
            assert all(value == pytest.approx(100) for value in figures.values())
        else:
            seen = sum(q is not None for q in metric.qualities.values())
            assert figures['coco_panoptic/PQ'] == pytest.approx(100 * (seen - 1) / seen)
            assert figures['coco_panoptic/PQ_st'] == pytest.approx(100)


@pytest.mark.slow
def test_training_resumes_exactly_and_is_tested_with_pictures(
    panoptic_coco: Path, tmp_path: Path
) -> None:
    whole, again = tmp_path / 'whole', tmp_path / 'again'
    train = [sys.executable, 'tools/train.py', CONFIG, '--data-root', str(panoptic_coco)]
    run_script(*train, '--work-dir', whole, '--seed', '7', '--cfg-options', *OPTIONS)
    expected = losses_by_iteration(whole)
    assert sorted(expected) == [1, 2, 3, 4]
    again.mkdir()
    shutil.copy(whole / 'iter_2.pth', again)
    said = run_script(
        *train, '--work-dir', again, '--seed', '7', '--resume', '--cfg-options', *OPTIONS
    )
    assert re.search(r'coco_panoptic/PQ: [\d.]+.*coco/segm_mAP: [\d.]+', said.stdout + said.stderr)
    resumed = losses_by_iteration(again)
    assert resumed == pytest.approx({step: expected[step] for step in (3, 4)}, rel=1e-4)

    test = [sys.executable, 'tools/test.py', CONFIG, again, '--data-root', str(panoptic_coco)]
    pictures = tmp_path / 'pictures'
    scores = tmp_path / 'scores.json'
    run_script(*test, '--show-dir', pictures, '--out', scores, '--cfg-options', *OPTIONS)
    metrics = json.loads(scores.read_text())
    assert {'coco_panoptic/PQ', 'coco_panoptic/PQ_st', 'coco/segm_mAP'} <= set(metrics)
    assert len(list(pictures.rglob('*.png'))) == 4
