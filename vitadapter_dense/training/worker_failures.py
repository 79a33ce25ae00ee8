"""A batch that a data worker cannot hand over ends the run, in place of a wait without end.

A thread of the worker lays batches into shared memory, /dev/shm. Where there is no room left, as in
containers with 64 MB of it, Python prints the error and drops the batch, which the loader then
waits for (torch 2.14).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from torch import Tensor
from torch._utils import ExceptionWrapper
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, get_worker_info

from vitadapter_dense.datasets.errors import DatasetError

SHARED = Path('/dev/shm')
_MB = 1e6


def tell_failures(loader: DataLoader) -> DataLoader:
    """The same loader, whose workers say what they cannot hand over."""
    loader.worker_init_fn = TellingStart(loader.worker_init_fn)
    return loader


class TellingStart:
    """What a worker does first: it puts an error where the batch would have been.

    Args:
        start: what it does then.
    """

    def __init__(self, start: Callable[[int], Any] | None) -> None:
        self.start = start

    def __call__(self, worker: int) -> None:
        # called by the thread that sends; where the next process begins the class is untouched
        Queue._on_queue_feeder_error = _put_error
        if self.start is not None:
            self.start(worker)


def _put_error(queue: Queue, error: Exception, item: tuple[int, Any]) -> None:
    number, batch = item
    told = DatasetError(failure_of(error, batch))
    told.__cause__ = error
    where = f'in DataLoader worker process {get_worker_info().id}'
    queue.put((number, ExceptionWrapper((DatasetError, told, None), where)))


def failure_of(error: Exception, batch: Any) -> str:
    """What is to be said of a batch that could not be handed over."""
    size = sum(leaf.nbytes for leaf in tree_leaves(batch) if isinstance(leaf, Tensor))
    text = f'a data worker cannot hand over a batch ({size / _MB:.1f} MB of tensors): {error}.'
    if 'shared memory' not in str(error) and 'No space left' not in str(error):
        return text
    found = os.statvfs(SHARED)
    whole, free = (found.f_frsize * blocks / _MB for blocks in (found.f_blocks, found.f_bavail))
    return (
        f'{text} {SHARED}, through which batches come, has {whole:.0f} MB, of which {free:.0f} are '
        'free; each worker keeps two batches there. Mend: make it larger (docker run '
        f'--shm-size=8g, or mount -o remount,size=8G {SHARED}), or have fewer batches there: a '
        'smaller num_workers, prefetch_factor or batch_size of the loader (none with num_workers=0)'
    )
