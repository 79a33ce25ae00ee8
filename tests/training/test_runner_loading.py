"""Checkpoints are read as data, compared with the model, and refused with a report."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from tests.training.toys import TinyModel, build_runner
from vitadapter_dense.checkpoints.checked_loading import WeightsError


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


class FromTheHub(BaseModule):
    """An encoder that would fetch its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained = True
        self.layer = nn.Linear(2, 2)
        self.fetched = 0

    def init_weights(self) -> None:
        if self.pretrained and not getattr(self, 'skip_pretrained', False):
            self.fetched += 1


class ModelFromTheHub(TinyModel):
    """A model with two parts that would fetch weights, in our way and in MMEngine's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = FromTheHub()
        self.neck = BaseModule(init_cfg=dict(type='Pretrained', checkpoint='/no/such/file.pth'))

    def forward(self, *args, **kwargs):
        losses = super().forward(*args, **kwargs)
        return dict(losses, extra=0.0 * self.encoder.layer.weight.sum())


@pytest.mark.parametrize('resume', [False, True])
def test_a_hostile_checkpoint_is_refused_and_not_run(tmp_path, resume):
    marker = tmp_path / 'was_run'
    path = tmp_path / 'hostile.pth'
    torch.save(dict(state_dict=TinyModel().state_dict(), meta=Hostile(marker)), path)
    with pytest.raises(WeightsError, match='refused'):
        build_runner(tmp_path, load_from=str(path), resume=resume).train()
    assert not marker.exists()
    pickle.loads(pickle.dumps(Hostile(marker)))
    assert marker.exists()  # it would have been run


def test_load_from_loads_the_weights(tmp_path):
    source = TinyModel()
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict={f'module.{k}': v for k, v in source.state_dict().items()}), path)
    runner = build_runner(tmp_path, load_from=str(path))
    runner.load_or_resume()
    for name, tensor in source.state_dict().items():
        assert torch.equal(runner.model.state_dict()[name], tensor)


def test_too_little_matching_stops_with_a_report_and_changes_nothing(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(nn.Sequential(nn.Linear(3, 3)).state_dict(), path)
    runner = build_runner(tmp_path, load_from=str(path))
    with pytest.raises(
        WeightsError, match=r'0\.0% of the parameters matched(.|\n)*missing(.|\n)*unexpected'
    ):
        runner.train()
    assert (runner.epoch, runner.iter) == (0, 0)


def test_training_takes_a_new_head_and_evaluation_does_not(tmp_path):
    weights = TinyModel().state_dict()
    weights['head.weight'] = torch.zeros(5, 8)
    path = tmp_path / 'other_classes.pth'
    torch.save(weights, path)
    build_runner(tmp_path, load_from=str(path), length=1).train()
    runner = build_runner(tmp_path, load_from=str(path))
    with pytest.raises(WeightsError, match=r'head\.weight \(file \(5, 8\), model \(1, 8\)\)'):
        runner.load_or_resume()


def test_pretrained_weights_are_fetched_only_if_nothing_replaces_them(tmp_path):
    model = ModelFromTheHub()
    torch.save(model.state_dict(), tmp_path / 'whole.pth')
    runner = build_runner(
        tmp_path, model=model, load_from=str(tmp_path / 'whole.pth'), length=1, param_scheduler=None
    )
    runner.train()
    assert model.encoder.fetched == 0
    resumed = ModelFromTheHub()
    build_runner(tmp_path, model=resumed, resume=True, length=2, param_scheduler=None).train()
    assert resumed.encoder.fetched == 0

    fresh = ModelFromTheHub()
    fresh.neck.init_cfg = None
    build_runner(tmp_path / 'new', model=fresh, resume=True, length=1, param_scheduler=None).train()
    assert fresh.encoder.fetched == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r'nowhere\.pth'):
        build_runner(tmp_path, load_from=str(tmp_path / 'nowhere.pth')).train()
