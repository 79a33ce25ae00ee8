"""Cascade Mask R-CNN with Pro-Tuning on real images: trains, evaluates, and its delta is small.

Set VITADAPTER_REAL_DATA to a folder with `coco_tiny/` to run it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs the compiled ops of mmcv')

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
    'val_dataloader.dataset.indices=2',
    'test_dataloader.dataset.indices=2',
    'val_dataloader.dataset.pipeline.1.scale=(160,128)',
    'test_dataloader.dataset.pipeline.1.scale=(160,128)',
    'model.test_cfg.rcnn.max_per_img=10',
    'optim_wrapper.optimizer.lr=0.0001',
]


def run(*words: object) -> str:
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=f'{ROOT}:{ROOT / "ops"}')
    command = [sys.executable, *(str(word) for word in words)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    return result.stdout


@pytest.mark.slow
def test_cascade_with_prompt_blocks_trains_and_evaluates(real_data: Path, tmp_path: Path) -> None:
    import mmdet.models  # noqa: F401

    weights = tmp_path / 'resnet50.pth'
    torch.save(MODELS.build(dict(type='mmdet.ResNet', depth=50)).state_dict(), weights)
    options = [*OPTIONS, f'model.backbone.backbone.init_cfg.checkpoint={weights}']
    common = ['--data-root', real_data / 'coco_tiny', '--cfg-options', *options]
    work_dir = tmp_path / 'run'
    run('tools/train.py', CONFIG, '--work-dir', work_dir, *common)
    whole, delta = work_dir / 'epoch_1.pth', work_dir / 'tuned_epoch_1.pth'
    assert delta.stat().st_size <= whole.stat().st_size / 2
    said = [
        run('tools/test.py', CONFIG, file, '--work-dir', tmp_path / 'test', *common)
        for file in (whole, delta)
    ]
    metrics = [text.split('Metrics of')[1].split('\n', 1)[1].split('Written')[0] for text in said]
    assert 'bbox_mAP' in metrics[0]
    assert metrics[0] == metrics[1]
