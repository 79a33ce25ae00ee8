"""A normalisation over one value is refused in the first forward pass, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.training.toys import LossRecorder, TinyModel, build_runner
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.normalised_values import smallest_batch, values_of


class Pooled(TinyModel):
    """Has a layer on one place an image, as a pooled map has."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__(width=8, dropout=0.0)
        self.norm = norm

    def forward(self, inputs, label, mode='loss'):
        maps = self.norm(self.backbone(inputs)[..., None, None])
        scores = self.head(maps.flatten(1)).squeeze(-1)
        return dict(loss=(scores - label).square().mean())


def run(folder, norm, *, size, by_epoch=True, length=1, **loader):
    """Trains on ten samples; returns the number of iterations."""
    recorder = LossRecorder()
    build_runner(
        folder,
        model=Pooled(norm),
        by_epoch=by_epoch,
        length=length,
        recorder=recorder,
        train_dataloader=dict(batch_size=size, **loader),
        optim_wrapper=dict(accumulative_counts=2),
    ).train()
    return len(recorder.losses)


BATCH_NORM, LAST = nn.BatchNorm2d, dict(drop_last=True)
REFUSED = {
    'one image': (BATCH_NORM(8), dict(size=1), r'norm \(BatchNorm2d\).*1, 8, 1, 1.*batch_size=2'),
    'one image at last': (BATCH_NORM(8), dict(size=3), 'last batch of an epoch.*drop_last=True'),
    'instance norm': (nn.InstanceNorm2d(8), dict(size=5), 'a channel: it gets a map of 1 x 1'),
    'as many groups': (nn.GroupNorm(8, 8), dict(size=5), 'fewer groups than channels'),
}
ALLOWED = {
    'two at last': (BATCH_NORM(8), dict(size=4), 3),
    'dropped': (BATCH_NORM(8), dict(size=3, **LAST), 3),
    'groups': (nn.GroupNorm(2, 8), dict(size=1), 10),
    'frozen': (BATCH_NORM(8).eval(), dict(size=1), 10),
    'endless data': (BATCH_NORM(8), dict(size=3, by_epoch=False, length=5), 5),
}


@pytest.mark.parametrize('case', REFUSED)
def test_one_value_is_refused_before_the_first_step(case, tmp_path):
    norm, settings, message = REFUSED[case]
    with pytest.raises(SettingsError, match=message):
        run(tmp_path, norm, **settings)


@pytest.mark.parametrize('case', ALLOWED)
def test_whatever_torch_takes_is_let_through(case, tmp_path):
    norm, settings, iterations = ALLOWED[case]
    if case == 'frozen':
        norm.train = lambda mode=True: norm
    assert run(tmp_path, norm, **settings) == iterations
    assert not norm._forward_pre_hooks


def test_a_run_too_short_for_a_last_batch_has_none():
    from mmengine.dataset import DefaultSampler
    from torch.utils.data import DataLoader

    loader = DataLoader(range(10), batch_size=3, sampler=DefaultSampler(range(10)))
    assert [smallest_batch(loader, iterations=n) for n in (3, 4)] == [3, 1]


def test_synchronised_batch_norm_counts_the_other_processes(monkeypatch):
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'get_world_size', lambda group: 2)
    assert values_of(nn.SyncBatchNorm(8), (1, 8, 1, 1)) == 2
    assert values_of(nn.BatchNorm2d(8), (1, 8, 1, 1)) == 1
