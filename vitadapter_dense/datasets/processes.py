"""The same work on many files, in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


def map_in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> Iterator[Result]:
    """Yields the results in the items' order; an interrupt waits for what runs, not for all.

    Args:
        work: a function that a process can be handed.
        items: what it is called with.
        workers: processes; with one or none, the work is done in this one.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    pool = ProcessPoolExecutor(workers)
    try:
        yield from pool.map(work, items, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)
