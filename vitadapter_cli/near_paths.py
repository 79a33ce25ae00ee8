"""Files and folders whose names are nearly one that is not there."""

from __future__ import annotations

import difflib
from pathlib import Path

_RUNS = 'work_dirs'  # holds a folder a data set, which holds a work directory a configuration


def near_paths(name: str, *, most: int = 3) -> list[str]:
    """What a path that does not exist may have meant.

    Args:
        name: the path; its first folder that is not there is compared with its neighbours. A bare
            name is looked for below `work_dirs` too.
        most: so many at most.
    """
    parts = Path(name).parts
    there = next((n for n in range(len(parts)) if not Path(*parts[: n + 1]).exists()), None)
    if there is None:
        return []
    parent, wrong, rest = Path(*parts[:there]), parts[there], parts[there + 1 :]
    found = [parent.joinpath(near, *rest) for near in _near(wrong, parent)]
    if len(parts) == 1:
        runs = {run.name: run for run in sorted(Path(_RUNS).glob('*/*/'))}
        found += [runs[near] for near in difflib.get_close_matches(name, runs, n=most)]
    return [str(path) for path in found if path.exists()][:most]


def _near(name: str, folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return difflib.get_close_matches(name, sorted(path.name for path in folder.iterdir()), n=6)
