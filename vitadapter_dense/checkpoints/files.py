"""Checkpoint files on disk: written whole or not at all, and found again.

A file is written under a temporary name in the same folder, flushed to the disk and then renamed
over the target, which POSIX does in one step: whoever looks sees the old file or the new one, never
half of one.
"""

from __future__ import annotations

import glob
import io
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from mmengine.fileio import LocalBackend, get_file_backend

POINTER = 'last_checkpoint'
_PARTIAL = '.partial'
SHARDS_ENDING = '.shards'  # of the folder with a sharded checkpoint's tensors


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of ``path`` when the block ends without an exception.

    Args:
        path: the target, in an existing local folder. Until the block has ended it is untouched.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}{_PARTIAL}')
    try:
        with _termination_put_off(), partial.open('wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
    except BaseException:  # Ctrl-C too must leave nothing half-written behind
        with suppress(OSError):
            partial.unlink()
        raise
    # The rename itself lives in the folder; some file systems refuse to sync one.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _termination_put_off() -> Iterator[None]:
    """Lets SIGTERM wait for the end: launchers send it when another process has failed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if came:
            os.kill(os.getpid(), signal.SIGTERM)


def remove_partial_files(folder: str | Path) -> list[Path]:
    """Removes what killed writes have left in ``folder`` and returns the paths."""
    partial = sorted(Path(folder).glob(f'.*{_PARTIAL}'))
    for path in partial:
        if path.is_dir():  # of a sharded checkpoint
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return partial


def remove_shards(path: str | Path, *, keep: str | None = None) -> None:
    """Removes the folders that belong to a checkpoint file, all or all others than ``keep``."""
    for folder in _shards_of(Path(path)):
        if folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)


def size_of(path: str | Path) -> int:
    """Bytes of a checkpoint, with the folder of a sharded one."""
    files = [Path(path), *(file for folder in _shards_of(Path(path)) for file in folder.iterdir())]
    return sum(file.stat().st_size for file in files)


def _shards_of(path: Path) -> list[Path]:
    return list(path.parent.glob(f'{glob.escape(path.stem)}.????????{SHARDS_ENDING}'))


def is_local(path: str | Path, backend_args: dict[str, Any] | None = None) -> bool:
    """Whether ``path`` lies on this machine's file system, not in an object store."""
    return isinstance(get_file_backend(str(path), backend_args=backend_args), LocalBackend)


def write_checkpoint(
    checkpoint: dict[str, Any], path: str | Path, *, backend_args: dict[str, Any] | None = None
) -> None:
    """Writes a checkpoint atomically; an object store's ``put`` is atomic by itself.

    Args:
        checkpoint: tensors and plain containers.
        path: local path, or a URI of a storage backend of MMEngine.
        backend_args: arguments of that storage backend.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    if is_local(path, backend_args):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_write(path) as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # torch's writer says where it stood, not that it had no room
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        return
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    get_file_backend(str(path), backend_args=backend_args).put(buffer.getvalue(), str(path))


def write_pointer(work_dir: str | Path, checkpoint: str) -> None:
    """Records ``checkpoint`` as the newest whole one of ``work_dir``; a resume starts there."""
    with atomic_write(Path(work_dir) / POINTER) as file:
        file.write(checkpoint.encode())


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """The newest whole checkpoint of ``work_dir``, or None if there is none yet.

    A work folder that was moved or copied as a whole is understood: its pointer still holds the old
    place, from which nothing is taken.

    Raises:
        FileNotFoundError: the folder points to a checkpoint that is gone, or is another folder's.
    """
    pointer = Path(work_dir) / POINTER
    if not pointer.is_file():
        return None
    checkpoint = pointer.read_text().strip()
    if not is_local(checkpoint):
        return checkpoint
    recorded, beside = Path(checkpoint), Path(work_dir) / Path(checkpoint).name
    if beside.is_file():
        return str(beside)
    # Checkpoints may be kept elsewhere (`out_dir`), but not in another run's work folder.
    if recorded.is_file() and not (recorded.parent / POINTER).is_file():
        return checkpoint
    reason = 'is of another work folder' if recorded.is_file() else 'does not exist'
    raise FileNotFoundError(
        f'{str(pointer)!r} names {checkpoint!r}, which {reason}; pass the checkpoint to '
        f'resume from, or delete {POINTER!r} to start anew'
    )
