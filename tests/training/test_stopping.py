"""Ctrl-C and SIGTERM: the iteration is finished, kept, and gone on from exactly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time

import pytest
import torch
from mmengine.hooks import Hook

from tests.training.toys import LossRecorder, build_runner, evaluation
from vitadapter_dense.checkpoints.files import latest_checkpoint
from vitadapter_dense.command_line.arguments import stop_as_status
from vitadapter_dense.training import stopping
from vitadapter_dense.training.stopping import Stopped, stops_on_signals


class Interrupt(Hook):
    """Sends this process and its workers a signal in an iteration, or in the validation after it.

    As a terminal does with Ctrl-C, and a scheduler with SIGTERM.
    """

    def __init__(self, number: int, at: int, *, validation: bool = False) -> None:
        self.number, self.at, self.validation = number, at, validation

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at and not self.validation:
            self.send()

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at and self.validation:
            self.send()

    def send(self) -> None:
        workers = [str(process.pid) for process in multiprocessing.active_children()]
        if workers:  # by another process: what a parent sends means them
            subprocess.run(['kill', f'-{self.number:d}', *workers], check=True)
            time.sleep(1)  # long enough for them to end, if they do
        os.kill(os.getpid(), self.number)


def run(folder, *, stop: Interrupt | None = None, **options):
    recorder = LossRecorder()
    runner = build_runner(folder, recorder=recorder, checkpoint=dict(interval=2), **options)
    if stop is not None:
        runner.register_hook(stop)
        with pytest.raises(Stopped) as stopped, stops_on_signals(runner):
            runner.train()
        assert stopped.value.number == stop.number
        assert latest_checkpoint(folder) == stopped.value.checkpoint
    else:
        with stops_on_signals(runner):
            runner.train()
    return recorder.losses, runner.bare_model.state_dict()


@pytest.mark.parametrize(
    ('by_epoch', 'length', 'at', 'number', 'workers'),
    [
        pytest.param(True, 3, 5, signal.SIGINT, 0, id='within an epoch'),
        pytest.param(True, 3, 7, signal.SIGTERM, 0, id='in the last iteration of an epoch'),
        pytest.param(False, 11, 6, signal.SIGINT, 2, id='with workers', marks=pytest.mark.slow),
        pytest.param(False, 5, 2, signal.SIGTERM, 2, id='of all processes'),
        pytest.param(False, 11, 10, signal.SIGTERM, 0, id='in the last iteration'),
    ],
)
def test_what_was_learnt_is_kept_and_gone_on_from(tmp_path, by_epoch, length, at, number, workers):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    options = dict(by_epoch=by_epoch, length=length, workers=workers)
    losses, weights = run(tmp_path / 'whole', **options)
    first, _ = run(tmp_path / 'cut', stop=Interrupt(number, at), **options)
    assert first == {step: losses[step] for step in range(at + 1)}
    rest, found = run(tmp_path / 'cut', resume=True, **options)
    assert rest == {step: loss for step, loss in losses.items() if step > at}
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_stop_in_a_validation_leaves_it_out(tmp_path):
    options = dict(by_epoch=False, length=8)
    losses, weights = run(tmp_path / 'whole', **options, **evaluation([0.1, 0.2]))
    stop = Interrupt(signal.SIGINT, 4, validation=True)
    run(tmp_path / 'cut', stop=stop, **options, **evaluation([0.1, 0.2]))
    rest, found = run(tmp_path / 'cut', resume=True, **options, **evaluation([0.2]))
    assert rest == {step: loss for step, loss in losses.items() if step >= 4}
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize('before', [signal.SIG_IGN, signal.default_int_handler])
def test_a_second_signal_ends_at_once(tmp_path, before):
    """Also where a shell had it ignored, as of programs in its background."""
    present = signal.signal(signal.SIGINT, before)
    runner = build_runner(tmp_path, length=3)
    runner.register_hook(Interrupt(signal.SIGINT, 5))
    runner.register_hook(Interrupt(signal.SIGINT, 5))
    try:
        with pytest.raises(KeyboardInterrupt) as ended, stops_on_signals(runner):
            runner.train()
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, present)
    assert not isinstance(ended.value, Stopped)


class EndedError(Exception):
    """Stands for the end of this process."""


@pytest.fixture
def ends_with_error(monkeypatch):
    """A SIGTERM that ends the process at once raises an error in place of that."""

    def end(*_):
        raise EndedError

    monkeypatch.setitem(stopping.AT_ONCE, signal.SIGTERM, end)
    return end


@pytest.mark.parametrize(
    ('within', 'ending'),
    [
        pytest.param(stopping.SAME_WITHIN_S, Stopped, id='soon'),
        pytest.param(0.0, EndedError, id='late'),
    ],
)
def test_one_signal_of_two_senders_is_one(tmp_path, monkeypatch, ends_with_error, within, ending):
    """Slurm's daemon and srun each send SIGTERM; long after the first, it is meant to end it."""
    monkeypatch.setattr(stopping, 'SAME_WITHIN_S', within)
    runner = build_runner(tmp_path, length=3)
    for _ in range(2):
        runner.register_hook(Interrupt(signal.SIGTERM, 5))
    with pytest.raises(ending), stops_on_signals(runner):
        runner.train()
    assert (tmp_path / 'stopped_at_iter_6.pth').is_file() == (ending is Stopped)


def test_the_checkpoint_of_a_stop_is_written_to_its_end(tmp_path, monkeypatch, ends_with_error):
    """Whenever a further SIGTERM comes, and then it is told how to go on."""
    monkeypatch.setattr(stopping, 'SAME_WITHIN_S', 0.0)
    runner = build_runner(tmp_path, length=3)
    runner.register_hook(Interrupt(signal.SIGTERM, 5))
    save, told = torch.save, []
    before = [signal.signal(each, ends_with_error) for each in (signal.SIGTERM, signal.SIGUSR1)]

    def interrupted(*args):
        if (tmp_path / 'epoch_1.pth').is_file():
            os.kill(os.getpid(), signal.SIGTERM)
        save(*args)

    def tell():
        os.kill(os.getpid(), signal.SIGTERM)
        told.append(latest_checkpoint(tmp_path))

    monkeypatch.setattr(torch, 'save', interrupted)
    try:
        with pytest.raises(SystemExit) as ended, stop_as_status(tell), stops_on_signals(runner):
            runner.train()
    finally:
        for each, handler in zip((signal.SIGTERM, signal.SIGUSR1), before, strict=True):
            signal.signal(each, handler)
    assert ended.value.code == 128 + signal.SIGTERM
    assert told == [str(tmp_path / 'stopped_at_iter_6.pth')]
