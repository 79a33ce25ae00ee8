"""The main job on real images: ADE20K files, the configuration that one would train.

Set VITADAPTER_REAL_DATA to a folder with `ade_mini/` (three images of ADE20K, as training and
validation) to run it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tiny_detection import ROOT, losses_by_iteration, run_script

# The whole images at a quarter of their size, without augmentation and without layer decay.
OVERFIT = """
_base_ = ['{root}/configs/ade20k/upernet_vitadapter_s.py']
size = (96, 128)
train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotationsChecked'),
    dict(type='Resize', scale=size[::-1]),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='Resize', scale=size[::-1]),
    dict(type='LoadAnnotationsChecked'),
    dict(type='PackSegInputs', meta_keys=_base_.meta_keys),
]
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(encoder=dict(pretrained=False, drop_path_rate=0.0)),
    decode_head=dict(channels=64, dropout_ratio=0.0),
    auxiliary_head=dict(channels=32, dropout_ratio=0.0),
    test_cfg=dict(crop_size=size, stride=size),
)
alone = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=3, dataset=dict(pipeline=train_pipeline), **alone)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline), **alone)
test_dataloader = val_dataloader
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=4.0))),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)]
train_cfg = dict(max_iters={iterations}, val_interval=20)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=100000, save_last=False))
log_processor = dict(window_size=1)
"""


def train(data: Path, folder: Path, *, iterations: int) -> dict[str, float]:
    """Trains from a configuration of its own in `folder`; returns the metrics at the end."""
    config = folder / 'overfit.py'
    config.write_text(OVERFIT.format(root=ROOT, iterations=iterations))
    command = [sys.executable, 'tools/train.py', config, '--data-root', data]
    run_script(*command, '--work-dir', folder / 'work')
    log = next((folder / 'work').glob('*/*.log')).read_text()
    assert re.search(r'\|\s*sky\s*\|', log), 'a table of the classes'
    lines = next((folder / 'work').glob('*/vis_data/scalars.json')).read_text().splitlines()
    return next(record for record in map(json.loads, reversed(lines)) if 'mIoU' in record)


@pytest.mark.slow
def test_three_real_images_are_learnt_by_heart(real_data: Path, tmp_path: Path) -> None:
    """Labels, `reduce_zero_label` and heads line up: what is learnt is what is evaluated.

    Classes that are nowhere do not count; one that is predicted and is nowhere counts as zero.
    """
    metrics = train(real_data / 'ade_mini', tmp_path, iterations=100)
    losses = losses_by_iteration(tmp_path / 'work')
    assert losses[100] < losses[1] / 5
    assert metrics['mIoU'] >= 50
