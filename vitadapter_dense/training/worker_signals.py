"""Data workers that outlast a SIGTERM or SIGUSR1 to the whole group of processes.

Schedulers, service managers and `timeout` send them to every process of a job. The training then
finishes its iteration, for which it needs its workers; torch's own handler ends them at once, and
the training with an error.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

from torch.utils.data import DataLoader

_LEFT_TO_PARENT = {signal.SIGTERM, signal.SIGUSR1}


def keep_workers(loader: DataLoader) -> None:
    """Has the workers that a loader is going to start end by their parent alone."""
    if not loader.num_workers or isinstance(loader.worker_init_fn, EnduringStart):
        return
    loader.worker_init_fn = EnduringStart(loader.worker_init_fn)
    if loader.multiprocessing_context is None and multiprocessing.get_start_method() == 'fork':
        loader.multiprocessing_context = EnduringContext()


class EnduringProcess(ForkProcess):
    """A process that begins with these signals blocked, before torch starts threads in it."""

    def start(self) -> None:
        """Starts it; what its parent is sent meanwhile arrives afterwards."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class EnduringContext(ForkContext):
    """Where a loader finds its processes."""

    Process = EnduringProcess


class EnduringStart:
    """What a worker does first: it leaves signals to its parent, which may still send a SIGTERM.

    Args:
        start: what it does then.
    """

    def __init__(self, start: Callable[[int], Any] | None) -> None:
        self.start = start

    def __call__(self, worker: int) -> None:
        # blocked here and so in all threads that follow, of which one waits for it
        signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        if self.start is not None:
            self.start(worker)


def _end_with(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
