"""Cascade Mask R-CNN with Pro-Tuning on real images: trains, evaluates, and its delta is small.

Set VITADAPTER_REAL_DATA to a folder with `coco_tiny/` to run it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs mmcv')

from mmengine.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/coco/cascade_mask_rcnn_r50_pro_tuning.py'
OPTIONS = [
    'train_cfg.max_epochs=1',
    'train_dataloader.dataset.indices=4',
    'train_dataloader.dataset.filter_cfg.filter_empty_gt=False',
    'train_dataloader.dataset.pipeline.2.scale=(160,128)',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'optim_wrapper.optimizer.lr=0.0001',
    'default_hooks.checkpoint.save_best=None',
    # four convolutions on every region in each of three stages are most of the time
    'model.train_cfg.rpn_proposal.max_per_img=50',
    *(f'model.train_cfg.rcnn.{stage}.sampler.num=16' for stage in range(3)),
    'model.test_cfg.rpn.max_per_img=20',
    'model.test_cfg.rcnn.max_per_img=5',
    'model.test_cfg.rcnn.score_thr=0.0',  # untrained heads are sure of nothing
]
for loader in ('val_dataloader', 'test_dataloader'):
    OPTIONS += [
        f'{loader}.dataset.indices=1',
        f'{loader}.dataset.pipeline.1.scale=(160,128)',
        f'{loader}.num_workers=0',
        f'{loader}.persistent_workers=False',
    ]


def run(*words: object) -> None:
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=f'{ROOT}:{ROOT / "ops"}')
    command = [sys.executable, *(str(word) for word in words)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]


@pytest.mark.slow
def test_cascade_with_prompt_blocks_trains_and_evaluates(real_data: Path, tmp_path: Path) -> None:
    """The whole checkpoint has the optimiser's state too, which is of what trains alone."""
    import mmdet.models  # noqa: F401

    weights = tmp_path / 'resnet50.pth'
    torch.save(MODELS.build(dict(type='mmdet.ResNet', depth=50)).state_dict(), weights)
    options = [*OPTIONS, f'model.backbone.backbone.init_cfg.checkpoint={weights}']
    common = ['--data-root', real_data / 'coco_tiny', '--cfg-options', *options]
    work_dir, metrics = tmp_path / 'run', tmp_path / 'metrics.json'
    run('tools/train.py', CONFIG, '--work-dir', work_dir, *common)
    whole, delta = work_dir / 'epoch_1.pth', work_dir / 'tuned_epoch_1.pth'
    assert delta.stat().st_size <= whole.stat().st_size / 2
    whole.unlink()

    run('tools/test.py', CONFIG, delta, '--work-dir', tmp_path, '--out', metrics, *common)
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    validated = json.loads(log.read_text().splitlines()[-1])
    found = json.loads(metrics.read_text())
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= found.keys()
    assert found.items() <= validated.items()
