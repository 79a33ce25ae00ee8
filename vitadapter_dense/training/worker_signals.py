"""Data workers that outlast a SIGTERM to the whole group of processes.

Schedulers, service managers and `timeout` send it to every process of a job. The training then
finishes its iteration, for which it needs its workers; torch's own handler ends them at once, and
the training with an error.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader


def keep_workers(loader: DataLoader) -> None:
    """Has the workers that a loader is going to start end by their parent alone."""
    if loader.num_workers and not isinstance(loader.worker_init_fn, EnduringStart):
        loader.worker_init_fn = EnduringStart(loader.worker_init_fn)


class EnduringStart:
    """What a worker does first: it leaves SIGTERM to its parent, which may still send one.

    Args:
        start: what it does then.
    """

    def __init__(self, start: Callable[[int], Any] | None) -> None:
        self.start = start

    def __call__(self, worker: int) -> None:
        # blocked here and so in all threads that follow, of which one waits for it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        if self.start is not None:
            self.start(worker)


def _end_with(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
