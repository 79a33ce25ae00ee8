"""Fixtures for all tests: repeatable random numbers, few threads, real data where there is some."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import mmcv_ops  # noqa: F401  (mmcv finds its operators, whichever test imports it first)

# Toy tensors gain nothing from many threads, and lose much to them on a large machine. Beside other
# test processes (pytest -n), one is enough.
_ALONE = 'PYTEST_XDIST_WORKER' not in os.environ
torch.set_num_threads(min(2 if _ALONE else 1, torch.get_num_threads()))


def seed_all() -> None:
    """Puts all generators into one state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Starts every test from the same random state."""
    seed_all()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef) -> None:
    """Makes what several tests share from that state too, after whichever test of another file."""
    if fixturedef.scope != 'function':
        seed_all()


@pytest.fixture(autouse=True)
def _no_disk_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cut is tested; syncing every toy checkpoint would take most of the time."""
    monkeypatch.setattr(os, 'fsync', lambda descriptor: None)


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder with `coco_tiny/` and `ade_mini/`; the test is skipped when none is named."""
    folder = os.environ.get('VITADAPTER_REAL_DATA')
    if not folder:
        pytest.skip('VITADAPTER_REAL_DATA names no folder with coco_tiny/ and ade_mini/')
    path = Path(folder).resolve()
    if not (path / 'coco_tiny' / 'annotations').is_dir():
        pytest.fail(f'VITADAPTER_REAL_DATA={folder}: there is no coco_tiny/annotations in it')
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips `cuda` tests on a machine without a GPU."""
    if torch.cuda.is_available():
        return
    for item in items:
        if 'cuda' in item.keywords:
            item.add_marker(pytest.mark.skip(reason='no NVIDIA GPU'))
