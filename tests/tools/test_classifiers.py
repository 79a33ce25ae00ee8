"""Classifiers through the tools: from a folder a class to a trained model, a delta, predictions."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from tiny_detection import ROOT, run_tool

from vitadapter_dense import Predictor
from vitadapter_dense.checkpoints.checked_loading import read_checkpoint
from vitadapter_dense.command_line.environment import missing_pieces

needs_mmpretrain = pytest.mark.skipif(
    importlib.util.find_spec('mmpretrain') is None, reason='needs MMPretrain (classification)'
)
GREYS = dict(dark=30, light=220, middle=120)

TUNED = """
_base_ = ['{config}']
custom_hooks = [dict(type='ClassCountsHook')]
model = dict(
    backbone=dict(
        source='prompts',
        encoder=dict(
            pretrained=False, frozen=True, img_size=32, embed_dim=32, depth=2, num_heads=2
        ),
        tuning=dict(type='VisualPromptTuning', num_tokens=2, deep=True),
    ),
    neck=dict(in_channels=32, num_layers=1),
    head=dict(
        in_channels=32, loss=dict(_delete_=True, type='LogitAdjustedLoss', num_classes=3)
    ),
)
small = dict(type='Resize', scale=(32, 32))
steps = [dict(type='LoadImageChecked'), small, dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=6,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type='ClassBalancedSampler'),
    dataset=dict(pipeline=steps),
)
val_dataloader = test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=steps)
)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
train_cfg = dict(max_epochs=40, val_interval=40)
param_scheduler = []
load_from = '{base}'
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook', interval=40, save_best=None))
"""


def write_classes(folder: Path, count: int) -> None:
    """Images of three greys in a folder each: one of each is tiny, one has a single channel."""
    generator = np.random.default_rng(0)
    for name, grey in GREYS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            size = (3, 5) if number == 0 else (20, 24)
            image = np.clip(generator.normal(grey, 12, (*size, 3)), 0, 255).astype(np.uint8)
            image = image[..., 0] if number == 1 else image
            cv2.imwrite(str(folder / name / f'{number}.png'), image)


@needs_mmpretrain
@pytest.mark.slow
def test_from_folders_to_a_delta_that_predicts(tmp_path: Path) -> None:
    import torch

    data, own = tmp_path / 'greys', tmp_path / 'own.py'
    write_classes(data, 8)
    task = ['--data', data, '--task', 'classification', '--out', own]
    status, printed = run_tool('dataset/new_config.py', *task, '--workers', 1)
    assert status == 0, printed
    assert 'a folder a class, 18 + 6 images' in printed
    assert len(own.read_text().splitlines()) <= 25
    config = tmp_path / 'tuned.py'
    config.write_text(TUNED.format(config=own, base=tmp_path / 'base.pth'))
    from vitadapter_dense.inference.predictor import build_model

    torch.manual_seed(0)  # the frozen encoder is a random one
    base = build_model(Config.fromfile(config))
    torch.save(dict(state_dict=base.state_dict()), tmp_path / 'base.pth')

    work = tmp_path / 'work'
    run_tool('train.py', config, '--work-dir', work, '--seed', 0)
    delta = work / 'tuned_epoch_40.pth'
    assert not any('encoder.blocks' in name for name in read_checkpoint(delta)['state_dict'])
    assert any(
        'head.loss_module.log_shares' in name for name in read_checkpoint(delta)['state_dict']
    )
    results = tmp_path / 'metrics.json'
    options = ['--show-dir', tmp_path / 'pictures', '--report', '--out', results]
    _, printed = run_tool('test.py', config, delta, '--work-dir', work, *options)
    metrics = json.loads(results.read_text())
    assert metrics['accuracy/top1'] > 60, printed
    assert len(list((tmp_path / 'pictures').rglob('*.png'))) == 6
    assert 'accuracy' in (work / 'report' / 'metrics_by_class.csv').read_text()

    found = Predictor(Config.fromfile(config), delta)(data / 'light' / '5.png')
    assert found.names == tuple(GREYS)
    assert found.names[found.labels[0]] == 'light'
    assert found.boxes is None
    assert found.label_map is None
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.sum() == pytest.approx(1, abs=1e-5)
    first = found.to_json()[0]
    assert first == dict(category_id=1, category_name='light', score=pytest.approx(found.scores[0]))
    assert found.plot().shape[0] > found.image.shape[0]
    _, printed = run_tool('analysis/count_params.py', config)
    assert 'delta: ' in printed
    assert 'VisualPromptTuning' in printed
    drawn = tmp_path / 'drawn'
    run_tool('demo/image_demo.py', data / 'dark' / '0.png', config, delta, '--out-dir', drawn)
    assert (drawn / '0.png').is_file()


@needs_mmpretrain
def test_every_config_of_a_classifier_is_built() -> None:
    from vitadapter_dense.inference.predictor import build_model_on_meta

    files = sorted((ROOT / 'configs').glob('*/classifier_*.py'))
    assert files
    for file in files:
        model = build_model_on_meta(Config.fromfile(file))
        assert model.head.fc.in_features == model.neck.in_channels == model.backbone.embed_dim


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    (problem,) = missing_pieces(['mmpretrain'])
    assert 'pip install onedl-mmpretrain' in problem
    assert shlex.split(problem)
