"""Stopping a training is no accident: Ctrl-C finishes the iteration and keeps what was learnt."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from vitadapter_dense.checkpoints.files import write_pointer
from vitadapter_dense.training.worker_signals import keep_workers

# what ends a program at once; Slurm warns with SIGUSR1
AT_ONCE = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGUSR1: signal.SIG_DFL,
}
# Slurm's daemon and srun, `timeout`, or a script and its group may each send one and the same
SAME_WITHIN_S = 5.0


class Stopped(KeyboardInterrupt):
    """A training ended on request, after an iteration and with a checkpoint.

    Args:
        number: of the signal.
        checkpoint: from which a resume repeats what would have come.
    """

    def __init__(self, number: int, checkpoint: str) -> None:
        super().__init__(f'stopped by {signal.Signals(number).name}, {checkpoint} is written')
        self.number, self.checkpoint = number, checkpoint


class StopHook(Hook):
    """Writes a checkpoint after the iteration in which it was asked to stop, and raises `Stopped`.

    The checkpoint lies between two iterations; asked in a validation, it leaves that out. Of
    several processes each may be asked at another time, or one alone: they agree after every
    training iteration, and finish a validation in which they are asked.
    """

    priority = 'LOWEST'  # after the schedulers, and after checkpoints of the configuration

    def __init__(self) -> None:
        self.asked: int | None = None
        self.ending = False
        self._group: torch.distributed.ProcessGroup | None = None

    def before_train(self, runner: Runner) -> None:
        """Has the processes talk of it beside their GPUs, which need not wait for the answer.

        Data workers, which have not started yet, outlast what is sent to all processes of a job.
        """
        for loop in (runner.train_loop, runner.val_loop):
            if isinstance(getattr(loop, 'dataloader', None), DataLoader):
                keep_workers(loop.dataloader)
        if get_world_size() > 1:
            options = (runner.cfg.get('env_cfg') or {}).get('dist_cfg') or {}
            limit = timedelta(seconds=options['timeout']) if options.get('timeout') else None
            self._group = torch.distributed.new_group(backend='gloo', timeout=limit)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stops; the loop counts the iteration after its hooks."""
        self.asked = self.asked_of_any()
        self._stop_if_asked(runner, runner.iter + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stops within a training's validation."""
        if self._group is None:
            self._stop_if_asked(runner, runner.iter)

    def asked_of_any(self) -> int | None:
        """The signal by which one of the processes was asked; they all call it at once."""
        if self._group is None:
            return self.asked
        asked = torch.tensor(self.asked or 0)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(asked) or None

    def _stop_if_asked(self, runner: Runner, done: int) -> None:
        if self.asked is None:
            return
        self.ending = True
        name = f'stopped_at_iter_{done}.pth'
        meta = dict(epoch=runner.epoch, iter=done)
        runner.save_checkpoint(runner.work_dir, name, meta=meta, by_epoch=False)
        path = str(Path(runner.work_dir, name))
        if is_main_process():
            write_pointer(runner.work_dir, path)
        if self._group is not None:  # none ends before all is written
            torch.distributed.barrier(self._group)
        raise Stopped(self.asked, path)


@contextmanager
def stops_on_signals(runner: Runner) -> Iterator[StopHook]:
    """Has the training in the block stop after an iteration on SIGINT (Ctrl-C), SIGTERM, SIGUSR1.

    A second Ctrl-C ends it at once. So does another SIGTERM or SIGUSR1, unless it comes within
    seconds of the first of its kind, as from two senders, or while the checkpoint is written.

    Args:
        runner: a runner whose checkpoints lie between iterations, as `DenseRunner`'s.

    Gives the hook, which knows of a signal that came behind the last iteration, too.

    Raises:
        Stopped: by the training.
    """
    hook = StopHook()
    runner.register_hook(hook)
    before = {number: signal.getsignal(number) for number in AT_ONCE}
    training = os.getpid()
    first: tuple[int, float] | None = None

    def ask(number: int, frame: Any) -> None:
        nonlocal first
        if os.getpid() != training:  # a data worker, to which Ctrl-C goes too
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if first is None:
            first = number, time.monotonic()
            hook.asked = number
            print_log('stopping after this iteration; once more ends it at once', logger='current')
            return
        same = number == first[0] and time.monotonic() - first[1] < SAME_WITHIN_S
        if number == signal.SIGINT or not (same or hook.ending):
            signal.signal(number, AT_ONCE[number])
            os.kill(training, number)

    for number in AT_ONCE:
        signal.signal(number, ask)
    try:
        yield hook
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
