"""A folder beside the data with what was made from them: written whole or not at all, and once.

Its record, `converted.json`, says from what it was made, and has hashes of its files. A second run
with the same data finds it as it is; one that somebody has changed is left alone with an error, as
is one of other data unless it is to be replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import DatasetError

RECORD = 'converted.json'
VERSION = 1  # raised whenever the same data would become other files


def fingerprint(files: Iterable[Path], root: Path) -> str:
    """A hash of names, sizes and times of files, and so of the data that they are."""
    digest = hashlib.sha256()
    for file in sorted(files):
        status = file.stat()
        line = [os.path.relpath(file, root), status.st_size, status.st_mtime_ns]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()


def hash_of(content: Sequence[Any]) -> str:
    """A hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def make_folder(
    folder: Path, source: Mapping[str, Any], write: Callable[[Path], None], *, replace: bool
) -> str:
    """Write a folder unless it is there, made of the same.

    Args:
        folder: in a folder that is there.
        source: from what it is made, and how; JSON's types.
        write: writes into the folder that it is given.
        replace: one that was made of something else, and that nobody has changed.

    Returns:
        what was done, to go on with the folder's name.

    Raises:
        DatasetError: the folder is not to be replaced, or cannot be written.
    """
    source = dict(source, version=VERSION)
    there = os.path.lexists(folder)
    if there and _is_made_of(folder, source, replace=replace):
        return 'converted before, and used again:'
    partial = folder.with_name(f'.{folder.name}.partial')
    old = folder.with_name(f'.{folder.name}.old')
    try:
        for left in (partial, old):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir()
        write(partial)
        record = dict(source=source, files=_hashes(partial))
        (partial / RECORD).write_text(json.dumps(record, indent=1), encoding='utf-8')
        if there:
            os.rename(folder, old)
        os.rename(partial, folder)
    except OSError as error:
        raise DatasetError(
            f'{folder} cannot be written: {error}. Mend: name a folder that can, --converted FOLDER'
        ) from error
    finally:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
    return 'converted anew, since data or options have changed:' if there else 'converted into'


def _is_made_of(folder: Path, source: Mapping[str, Any], *, replace: bool) -> bool:
    """Whether it can be used; False where it is to be replaced."""
    mend = f'Nothing was written. Mend: move {folder} away, or name another one, --converted FOLDER'
    try:
        record = json.loads((folder / RECORD).read_text(encoding='utf-8'))
        found, files = record['source'], record['files']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f'{folder} is there and was not made from data (no {RECORD} in it). {mend}'
        ) from error
    if _hashes(folder) != files:
        raise DatasetError(f'files in {folder} were changed since it was made. {mend}')
    changed = [key for key in {*found, *source} if found.get(key) != source.get(key)]
    if changed and not replace:
        options = sorted({*changed} - {'fingerprint', 'contents'})
        what = ', '.join(options) or 'other labels or files'
        raise DatasetError(
            f'{folder} was made from other data or options ({what}), and a training may have used '
            f'it. {mend}'
        )
    return not changed


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for file in sorted(folder.rglob('*')):
        if file.is_file() and file.name != RECORD:
            with file.open('rb') as stream:
                digest = hashlib.file_digest(stream, 'sha256')
            found[str(file.relative_to(folder))] = digest.hexdigest()
    return found
