"""A progress bar with the remaining time, on a terminal only.

Elsewhere (a file, a pipe, a second process) MMEngine's log lines, which carry an ETA too, are all
there is.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar('Item')
DataBatch = dict | tuple | list | None


def make_bar() -> Progress:
    """A bar on standard error: what runs, the share done, elapsed and remaining time, a note."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn('ETA'),
        TimeRemainingColumn(),
        TextColumn('{task.fields[note]}'),
        console=Console(file=sys.stderr),
        redirect_stdout=sys.stdout.isatty(),
    )


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yields the items under a bar on a terminal, with some ten log lines elsewhere.

    Args:
        what: a word for the items, as in `images`.
    """
    if sys.stderr.isatty():
        with make_bar() as bar:
            task = bar.add_task(what, total=len(items), note='')
            for item in items:
                yield item
                bar.advance(task)
        return
    every = max(1, len(items) // 10)
    for number, item in enumerate(items, start=1):
        yield item
        if number % every == 0 or number == len(items):
            print_log(f'{what}: {number}/{len(items)}', logger='current')


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows training, validation and test progress with the remaining time on a terminal.

    While the bar is shown, log lines are written above it.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._redirected: list[tuple[logging.StreamHandler, object]] = []

    def before_train(self, runner: Runner) -> None:
        self._start(runner, 'train', total=runner.max_iters, done=runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DataBatch = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        if 'train' not in self._tasks:
            return
        loss = torch.as_tensor((outputs or {}).get('loss', torch.nan)).item()
        note = f'loss {loss:.3f}'
        if runner.max_epochs > 1:
            note = f'epoch {runner.epoch + 1}/{runner.max_epochs}  {note}'
        self._move('train', done=runner.iter + 1, note=note)

    def after_train(self, runner: Runner) -> None:
        self._stop('train')

    # What MMEngine calls for validation and test alike; the bar of training spans its epochs.

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._start(runner, mode, total=len(getattr(runner, f'{mode}_dataloader')))

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DataBatch = None,
        outputs: dict | Sequence | None = None,
        mode: str = 'train',
    ) -> None:
        self._move(mode, done=batch_idx + 1)

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._stop(mode)

    def _start(self, runner: Runner, phase: str, *, total: int, done: int = 0) -> None:
        if not (is_main_process() and sys.stderr.isatty()):
            return
        if self._bar is None:
            self._bar = make_bar()
            self._bar.start()
            self._redirect(runner.logger.handlers)
            atexit.register(self.close)
        self._tasks[phase] = self._bar.add_task(phase, total=total, completed=done, note='')

    def _move(self, phase: str, *, done: int, note: str = '') -> None:
        if phase in self._tasks:
            self._bar.update(self._tasks[phase], completed=done, note=note)

    def _stop(self, phase: str) -> None:
        if phase not in self._tasks:
            return
        task = self._tasks.pop(phase)
        if self._tasks:
            self._bar.remove_task(task)
        else:
            self.close()

    def _redirect(self, handlers: Iterable[logging.Handler]) -> None:
        """Sends log lines through the bar's stand-in for stderr, which keeps it at the bottom."""
        for handler in handlers:
            if isinstance(handler, logging.FileHandler):
                continue
            if isinstance(handler, logging.StreamHandler):
                self._redirected.append((handler, handler.setStream(sys.stderr)))

    def close(self) -> None:
        """Takes the bar away and gives the terminal back; safe to call twice."""
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected.clear()
        self._tasks.clear()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            atexit.unregister(self.close)
