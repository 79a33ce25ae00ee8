"""A folder beside the data with what was made from them: written whole or not at all, and once.

Its record, `converted.json`, says from what it was made and how large its files are. A second run
with the same data finds it as it is; a folder of other data, or one that somebody has changed, is
left alone with an error.
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


def hash_of(names: Sequence[str]) -> str:
    """A hash of a list of names."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def make_folder(folder: Path, source: Mapping[str, Any], write: Callable[[Path], None]) -> bool:
    """Write a folder unless it is there.

    Args:
        folder: in a folder that is there.
        source: from what it is made, and how; JSON's types.
        write: writes into the folder that it is given.

    Returns:
        False if it was there, made of the same.

    Raises:
        DatasetError: the folder is something else.
    """
    source = dict(source, version=VERSION)
    if os.path.lexists(folder):
        _check(folder, source)
        return False
    partial = folder.with_name(f'.{folder.name}.partial')
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir()
        write(partial)
        record = dict(source=source, files=_sizes(partial))
        (partial / RECORD).write_text(json.dumps(record, indent=1), encoding='utf-8')
        os.rename(partial, folder)
    except OSError as error:
        raise DatasetError(
            f'{folder} cannot be written: {error}. Mend: name a folder that can, --converted FOLDER'
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _check(folder: Path, source: Mapping[str, Any]) -> None:
    mend = f'Nothing was written. Mend: move {folder} away, or name another one, --converted FOLDER'
    try:
        record = json.loads((folder / RECORD).read_text(encoding='utf-8'))
        found, files = record['source'], record['files']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f'{folder} is there and was not made from data (no {RECORD} in it). {mend}'
        ) from error
    changed = [key for key in {*found, *source} if found.get(key) != source.get(key)]
    if changed:
        what = 'other labels or files' if changed == ['fingerprint'] else ', '.join(sorted(changed))
        raise DatasetError(f'{folder} was made from other data or options ({what}). {mend}')
    if _sizes(folder) != files:
        raise DatasetError(f'files in {folder} were changed since it was made. {mend}')


def _sizes(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob('*'))
        if file.is_file() and file.name != RECORD
    }
