"""Tuned models through the tools: a delta does what its whole checkpoint does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import MODELS
from tiny_detection import load_tool, run_tool

from vitadapter_dense.checkpoints import read_checkpoint
from vitadapter_dense.inference.predictor import Predictor

CONFIG = """
_base_ = '{base}'
model = dict(
    backbone=dict(
        encoder=dict(pretrained='{weights}', frozen=True),
        tuning=[
            dict(type='VisualPromptTuning', num_tokens=3, deep=True),
            dict(type='BiasTuning'),
        ],
    )
)
train_cfg = dict(max_epochs=1)
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook', save_best=None))
"""


@dataclass(frozen=True)
class TunedTask:
    """The configuration, its pre-trained weights, and the checkpoints of a finished training."""

    config: Path
    weights: Path
    whole: Path
    delta: Path


def write_weights(task_config: Path, path: Path, seed: int) -> None:
    """Random "pre-trained" weights of the tiny task's encoder."""
    torch.manual_seed(seed)
    encoder = MODELS.build(Config.fromfile(task_config).model.backbone.encoder)
    torch.save(encoder.state_dict(), path)


@pytest.fixture(scope='module')
def tuned(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> TunedTask:
    folder = tmp_path_factory.mktemp('tuned')
    config, weights = folder / 'tuned.py', folder / 'encoder.pth'
    write_weights(tiny_config, weights, seed=5)
    config.write_text(CONFIG.format(base=tiny_config, weights=weights))
    run_tool('train.py', config, '--work-dir', folder / 'run', '--seed', 3)
    run = folder / 'run'
    return TunedTask(config, weights, run / 'epoch_1.pth', run / 'tuned_epoch_1.pth')


def test_a_delta_is_tested_as_its_whole_checkpoint(tuned: TunedTask, tmp_path: Path) -> None:
    predictions = []
    for checkpoint in (tuned.whole, tuned.delta):
        out = tmp_path / f'{checkpoint.stem}.pkl'
        run_tool('test.py', tuned.config, checkpoint, '--work-dir', tmp_path, '--out', out)
        predictions.append(load(out))
    for one, other in zip(*predictions):
        one, other = one['pred_instances'], other['pred_instances']
        assert len(one['scores']) > 0
        assert all(torch.equal(one[key], other[key]) for key in ('scores', 'bboxes', 'labels'))
        assert one['masks'] == other['masks']


def test_a_delta_predicts_as_its_whole_checkpoint(tuned: TunedTask) -> None:
    cfg, image = Config.fromfile(tuned.config), np.full((64, 80, 3), 120, dtype=np.uint8)
    image[10:30, 20:50] = 235
    found = []
    for checkpoint in (tuned.whole, tuned.delta):
        predictor = Predictor(cfg, checkpoint)
        found.append(predictor.predict(predictor.prepare_array(image)).pred_instances)
    one, other = found
    assert len(one.scores) > 0
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(one.masks, other.masks)


def test_training_starts_from_a_delta(tuned: TunedTask, tmp_path: Path) -> None:
    options = ['--load-from', tuned.delta, '--cfg-options', 'optim_wrapper.optimizer.lr=0']
    run_tool('train.py', tuned.config, '--work-dir', tmp_path, *options)
    start = read_checkpoint(tuned.delta)
    end = read_checkpoint(tmp_path / 'tuned_epoch_1.pth')
    assert end['delta']['hash'] == start['delta']['hash']
    assert end['state_dict'].keys() == start['state_dict'].keys()
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    for name, tensor in start['state_dict'].items():
        assert name.endswith(statistics) or torch.equal(end['state_dict'][name], tensor), name


def test_other_base_weights_stop_every_tool(
    tuned: TunedTask, tiny_config: Path, tmp_path: Path
) -> None:
    other = tmp_path / 'other.pth'
    write_weights(tiny_config, other, seed=6)
    options = ['--cfg-options', f'model.backbone.encoder.pretrained={other}']
    with pytest.raises(SystemExit, match='other base weights'):
        run_tool('test.py', tuned.config, tuned.delta, '--work-dir', tmp_path, *options)
    start = ['--load-from', tuned.delta, '--work-dir', tmp_path / 'run']
    with pytest.raises(SystemExit, match='other base weights'):
        run_tool('train.py', tuned.config, *start, *options)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_the_count_of_parameters_tells_the_deltas_size(tuned: TunedTask) -> None:
    _, printed = run_tool('analysis/count_params.py', tuned.config, '--depth', 1)
    (line,) = [line for line in printed.splitlines() if line.startswith('delta: ')]
    size = float(line.split()[1])
    tensors = read_checkpoint(tuned.delta)['state_dict'].values()
    stored = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert size == pytest.approx(stored / 2**20, abs=0.06)
    assert 'VisualPromptTuning + BiasTuning, can be merged into plain weights: no' in printed
    rows = {row.split()[0]: row.split() for row in printed.splitlines() if '%' in row}
    count = load_tool('analysis/count_params.py').count
    model = Predictor(Config.fromfile(tuned.config), tuned.delta).model
    assert int(rows['backbone'][2].replace(',', '')) == count('', model.backbone).trainable
