"""Says which process is gone where the others wait for it: gloo and NCCL name none.

A thread of every process counts in the store through which the processes have met. Where a
collective fails, counts that stand still tell who was killed, hangs or has lost its machine, and
who ended with an error of its own has left it there.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dist import get_rank, get_world_size
from torch.distributed import DistError, PrefixStore, TCPStore

from vitadapter_dense.training.errors import LostProcessError

_PERIOD = 1.0  # seconds between two counts
_SILENT = 5.0  # seconds after which a count that stands still is a lost process's


class Presence:
    """Tells the other processes that this one is there.

    Args:
        host: where the store of the launcher is.
        port: of the store.
        run: name of the run, the same in every process.
    """

    def __init__(self, host: str, port: int, *, run: str) -> None:
        limit = datetime.timedelta(seconds=2 * _SILENT)
        # a connection of its own, because the process's own may wait in a collective
        store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=limit)
        self._store = PrefixStore(f'vitadapter_dense/{run}', store)
        self._own = dict(rank=get_rank(), node=platform.node(), count=0, waits=False, error=None)
        self._tell()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _tell(self, **news: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the store may have gone with its process
            self._own.update(news)
            self._store.set(str(self._own['rank']), json.dumps(self._own))

    def _count(self) -> None:
        while not self._end.wait(_PERIOD):
            self._tell(count=self._own['count'] + 1)

    def leave(self, error: str | None = None) -> None:
        """Ends, with what the others are told if they wait for this process."""
        self._end.set()
        self._thread.join()
        if error is not None:
            self._tell(error=error)

    def lost(self, error: RuntimeError) -> str | None:
        """Whom this process waited for in vain.

        Args:
            error: that ended the waiting.

        Returns:
            None if all the others are there.
        """
        late = 'timed out' in str(error).lower() or 'timeout' in str(error).lower()
        self._tell(waits=late)
        try:
            before, until = self._read(), time.monotonic() + _SILENT
            while True:
                others = self._read()
                ended = [entry for entry in others if entry['error'] is not None]
                if ended or time.monotonic() > until:
                    break
                time.sleep(_PERIOD / 4)
        except RuntimeError:
            return (
                'process 0, or its launcher, through which the processes meet, does not answer: '
                'it has ended or was killed'
            )
        if ended:
            return ended[0]['error']
        missing = set(range(get_world_size())) - {entry['rank'] for entry in (self._own, *others)}
        if missing:
            return f'process {min(missing)} has not begun to train: it has ended or was killed'
        silent = [entry for entry in others if entry in before]
        if silent:
            return f'{_names(silent)} does not answer: killed, stopped, or its machine is gone'
        absent = [entry for entry in others if late and not entry['waits']]
        if absent:
            return (
                f'{_names(absent)} has not come within the time limit (env_cfg.dist_cfg.timeout, '
                'in seconds), but answers: it hangs, or is that much slower'
            )
        return None

    def _read(self) -> list[dict[str, Any]]:
        others = (str(rank) for rank in range(get_world_size()) if rank != self._own['rank'])
        return [json.loads(self._store.get(key)) for key in others if self._store.check([key])]

    def name(self) -> str:
        """This process and its machine."""
        return _names([self._own])


def _names(entries: Sequence[dict[str, Any]]) -> str:
    return ', '.join(f'process {entry["rank"]} on {entry["node"]}' for entry in entries)


@contextlib.contextmanager
def lost_processes_named(run: str) -> Iterator[None]:
    """Has an error of waiting for another process, in the block, say for which.

    Args:
        run: its name, the same in every process.

    Raises:
        LostProcessError: in place of what gloo or NCCL says.
    """
    host, port = os.environ.get('MASTER_ADDR'), os.environ.get('MASTER_PORT')
    if get_world_size() == 1 or host is None or port is None:
        yield
        return
    presence, told = Presence(host, int(port), run=run), None
    try:
        yield
    except RuntimeError as error:
        lost = presence.lost(error) if _is_of_waiting(error) else None
        told = lost or f'{presence.name()} has ended: {_first_line(error)}'
        if lost is None:
            raise
        raise LostProcessError(f'{told} ({_first_line(error)})') from error
    except Exception as error:
        told = f'{presence.name()} has ended: {_first_line(error)}'
        raise
    finally:
        presence.leave(told)


def _is_of_waiting(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, DistError) or 'gloo' in text or 'nccl' in text


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
