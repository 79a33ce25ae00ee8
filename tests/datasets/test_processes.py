"""Work on many files in several processes: in order, and stopped where nobody wants the rest."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from vitadapter_dense.datasets.processes import map_in_processes


def touch(number: int, *, folder: Path) -> int:
    time.sleep(0.005)
    (folder / str(number)).touch()
    return number * number


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_results_come_in_order(tmp_path: Path, workers: int) -> None:
    results = map_in_processes(partial(touch, folder=tmp_path), range(40), workers=workers)
    assert list(results) == [number * number for number in range(40)]


@pytest.mark.parametrize('workers', [1, 2])
def test_what_nobody_waits_for_is_not_done(tmp_path: Path, workers: int) -> None:
    results = map_in_processes(partial(touch, folder=tmp_path), range(4000), workers=workers)
    assert next(results) == 0
    results.close()
    assert len(list(tmp_path.iterdir())) < 2000  # 5 s of two workers, should this one be held up
