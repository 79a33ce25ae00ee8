"""Which files a command may write: none that it did not make.

Each folder that gets a file has a record, `.vitadapter_dense`, with a line a file: a hash, the
command and the name. A folder that is a command's alone has a line that says so. A command replaces
what it made itself and nobody has changed since, so that
it can be run again; all else stays, and the error comes before the work.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

RECORD = '.vitadapter_dense'
_SHOWN = 3


class OutputError(OSError):
    """What a command was to write has no place there; the message names it and the mend."""


def check_outputs(
    paths: Iterable[str | Path], *, command: str, inputs: Iterable[str | Path] = ()
) -> None:
    """Makes sure, before any work, that a command may write its files.

    Args:
        paths: the files that are going to be written.
        command: its name, as recorded.
        inputs: files that the command reads, which it never replaces.

    Raises:
        OutputError: for a file that another hand made, an input, or a folder that cannot be used.
    """
    read = {_identity(path) for path in inputs if os.path.exists(path)}
    foreign = []
    for path in map(Path, paths):
        _check_folder(path)
        if not os.path.lexists(path):
            continue
        if path.exists() and _identity(path) in read:
            raise OutputError(f'{path} is what is read here: give the output another name.')
        if not is_made_by(path, command):
            foreign.append(str(path))
    if foreign:
        more = len(foreign) - _SHOWN
        listed = ', '.join(foreign[:_SHOWN]) + (f' and {more} more' if more > 0 else '')
        raise OutputError(
            f'not written over, because {command} did not make it (or it was changed since): '
            f'{listed}. Give another name or folder, or move it away.'
        )


def claim_folder(folder: str | Path, *, command: str) -> Path:
    """Makes a folder for a command alone, which may write to all of it, or finds it made.

    Args:
        folder: missing, empty, or claimed by the command before.
        command: its name, as recorded.

    Returns:
        The folder.

    Raises:
        OutputError: there are files of another hand.
    """
    folder, line = Path(folder), f'folder {command}'.encode()
    _check_folder(folder / RECORD)
    record = folder / RECORD
    if record.is_file() and line in record.read_bytes().splitlines():
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(
            f'{folder} is not empty, and {command} did not make it: give another folder, or move '
            'that one away.'
        )
    folder.mkdir(parents=True, exist_ok=True)
    _record(record, line)
    return folder


def is_made_by(path: str | Path, command: str) -> bool:
    """Whether the command wrote this very file, which nobody has changed since."""
    path = Path(path)
    record = path.parent / RECORD
    if not (path.is_file() and record.is_file()):
        return False
    return _line(path, path.name, command) in record.read_bytes().splitlines()


@contextmanager
def write_output(path: str | Path, *, command: str) -> Iterator[Path]:
    """Gives a place to write a file, which gets its name when the block ends without an exception.

    Args:
        path: the file; its folder is made.
        command: who writes it.

    Yields:
        a path of the same suffix in the same folder.

    Raises:
        OutputError: as `check_outputs`.
    """
    path = Path(path)
    check_outputs([path], command=command)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.partial-{secrets.token_hex(4)}{path.suffix}')
    try:
        yield partial
        # Recorded first: killed between the two, the command may still replace its old file.
        _record(path.parent / RECORD, _line(partial, path.name, command))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _line(content: Path, name: str, command: str) -> bytes:
    with content.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return f'{digest} {command} {json.dumps(name)}'.encode()


def _record(record: Path, line: bytes) -> None:
    if record.is_file() and line in record.read_bytes().splitlines():
        return
    # One appended write: several processes may write to the folder.
    descriptor = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line + b'\n')
    finally:
        os.close(descriptor)


def _check_folder(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f'{path} is a folder: give the name of a file.')
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise OutputError(f'{path} cannot be written: {folder} is no folder with write access.')


def _identity(path: str | Path) -> tuple[int, int]:
    """The same for every path to a file: through links, and in another case where that is one."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
