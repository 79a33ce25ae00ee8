"""The main job on real images: a training on COCO that is killed and goes on, as by hand.

Set VITADAPTER_REAL_DATA to a folder with `coco_tiny/` to run it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_detection import ROOT, losses_by_iteration, run_script

CONFIG = 'configs/coco/mask_rcnn_vitadapter_s.py'
ITERATIONS = 6
OPTIONS = [
    'model.backbone.encoder.pretrained=False',
    'train_cfg.max_epochs=1',
    f'train_dataloader.dataset.indices={2 * ITERATIONS}',
    'train_dataloader.dataset.filter_cfg.filter_empty_gt=False',
    'train_dataloader.dataset.pipeline.3.transforms.0.0.scales=[(256,160),(256,192)]',
    'train_dataloader.dataset.pipeline.3.transforms.1.0.scales=[(256,160)]',
    'train_dataloader.dataset.pipeline.3.transforms.1.2.scales=[(256,160)]',
    'train_dataloader.num_workers=2',
    'val_dataloader.dataset.indices=8',
    'test_dataloader.dataset.indices=8',
    'val_dataloader.dataset.pipeline.1.scale=(256,160)',
    'test_dataloader.dataset.pipeline.1.scale=(256,160)',
    'model.test_cfg.rcnn.max_per_img=20',
    'model.test_cfg.rcnn.score_thr=0.001',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.by_epoch=False',
    'default_hooks.checkpoint.interval=2',
    'log_processor.window_size=1',
]


def train_command(data: Path, work_dir: Path) -> list[str]:
    command = [sys.executable, 'tools/train.py', CONFIG, '--data-root', str(data)]
    return [*command, '--work-dir', str(work_dir), '--seed', '7', '--cfg-options', *OPTIONS]


def kill_after(command: list[str], work_dir: Path, *, checkpoint: str, iteration: int) -> None:
    """Starts a training and kills it, with its workers, once it is beyond a checkpoint."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    environment['PYTHONPATH'] = os.pathsep.join([str(ROOT), str(ROOT / 'ops')])
    log = (work_dir.parent / 'killed.log').open('w')
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        reached = max(losses_by_iteration(work_dir), default=0)
        if (work_dir / checkpoint).is_file() and reached >= iteration:
            break
        time.sleep(0.05)
    assert process.poll() is None, Path(log.name).read_text()[-3000:]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log.close()


@pytest.mark.slow
def test_killed_run_on_coco_images_repeats_the_whole_one(real_data: Path, tmp_path: Path) -> None:
    data = real_data / 'coco_tiny'
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    run_script(*train_command(data, whole), 'train_cfg.val_begin=2')
    expected = losses_by_iteration(whole)
    assert sorted(expected) == list(range(1, ITERATIONS + 1))

    kill_after(train_command(data, killed), killed, checkpoint='iter_2.pth', iteration=3)
    assert not (killed / f'iter_{ITERATIONS}.pth').exists()
    said = run_script(*train_command(data, killed), '--resume')
    assert re.search(r'resumed .*iter_[24]\.pth', said.stdout + said.stderr)
    assert re.search(r'coco/bbox_mAP: [\d.]+.*coco/segm_mAP: [\d.]+', said.stdout + said.stderr)
    assert losses_by_iteration(killed) == pytest.approx(expected, rel=1e-4)

    command = [sys.executable, 'tools/test.py', CONFIG, killed, '--data-root', data]
    scores = tmp_path / 'scores.json'
    run_script(*command, '--out', scores, '--cfg-options', *OPTIONS)
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(json.loads(scores.read_text()))
