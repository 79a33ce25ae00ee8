"""Fixtures of the tools' tests: a tiny detection task, trained once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_detection import CLASSES, CONFIG, ROOT, TinyTask, forget_managers, run_tool, write_split


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Takes back the default scope, loggers and visualizers that a tool makes, and what it does
    about signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    forget_managers()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file with its data beside it."""
    folder = tmp_path_factory.mktemp('tiny')
    generator = np.random.default_rng(0)
    write_split(folder / 'data', 'train', 6, generator)
    write_split(folder / 'data', 'val', 3, generator)
    config = folder / 'tiny.py'
    config.write_text(CONFIG.format(root=ROOT, data=folder / 'data', classes=CLASSES))
    return config


@pytest.fixture(scope='session')
def tiny_task(tiny_config: Path) -> TinyTask:
    """The task after `tools/train.py` has run on it."""
    work_dir = tiny_config.parent / 'work'
    _, printed = run_tool('train.py', tiny_config, '--work-dir', work_dir, '--seed', 3)
    return TinyTask(tiny_config, tiny_config.parent / 'data', work_dir, printed)
