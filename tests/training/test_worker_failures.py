"""Batches on their way from data workers to the training."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch

from tests.training.toys import NoisyPoints
from vitadapter_dense.command_line.arguments import message_of
from vitadapter_dense.datasets.errors import DatasetError
from vitadapter_dense.training import DenseRunner, runner

LOADER = dict(batch_size=2, num_workers=1, sampler=dict(type='DefaultSampler', shuffle=False))


def test_too_little_shared_memory_is_named_and_not_waited_for(monkeypatch):
    """Workers printed the error, dropped the batch, and the training waited for it for ever."""

    def full(*_):
        raise RuntimeError('unable to allocate shared memory(shm) for file </torch_1>: No space')

    monkeypatch.setattr(torch.UntypedStorage, '_share_fd_cpu_', full)
    small = SimpleNamespace(f_frsize=4096, f_blocks=16384, f_bavail=100)
    monkeypatch.setattr(os, 'statvfs', lambda _: small)
    # without the mend the time is over
    loader = DenseRunner.build_dataloader(dict(LOADER, dataset=NoisyPoints(), timeout=60))
    with pytest.raises(DatasetError) as told:
        next(iter(loader))
    message = message_of(told.value)
    assert message.startswith('a data worker cannot hand over a batch (0.0 MB')
    for part in ('unable to allocate', '67 MB', '--shm-size', 'num_workers'):
        assert part in message


@pytest.mark.parametrize(('device', 'pinned'), [('cuda', True), ('cpu', False)])
def test_batches_are_pinned_where_there_is_a_gpu(monkeypatch, device, pinned):
    monkeypatch.setattr(runner, 'get_device', lambda: device)
    for own in ({}, dict(pin_memory=not pinned)):
        built = DenseRunner.build_dataloader(dict(LOADER, dataset=NoisyPoints(), **own))
        assert built.pin_memory is own.get('pin_memory', pinned)
