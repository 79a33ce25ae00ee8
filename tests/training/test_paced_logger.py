"""The first lines of a log come early, a short run is not silent, and a given interval stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.hooks import LoggerHook
from toys import build_runner

from vitadapter_dense.training import PacedLoggerHook


def logged(work_dir: Path, hook: PacedLoggerHook, **options: object) -> list[int]:
    """The iterations, from 1, at which a run writes a line."""
    runner = build_runner(work_dir, **options)
    runner._hooks = [one for one in runner.hooks if not isinstance(one, LoggerHook)]
    runner.register_hook(hook)
    found = []

    def note(runner: object, *_: object) -> tuple[dict, str]:
        found.append(runner.iter + 1)
        return {}, ''

    runner.log_processor.get_log_after_iter = note
    runner.train()
    return found


@pytest.mark.parametrize(
    ('interval', 'options', 'expected'),
    [
        (None, dict(by_epoch=False, length=7), [1, 2, 3, 4, 5, 6, 7]),
        (None, dict(by_epoch=False, length=200), [2, 4, 5, 6, 8, 10]),
        # epochs of four iterations: the last of each, and those of the beginning
        (None, dict(by_epoch=True, length=110), [2, 4, 5, 8, 10, 12, 16, 20, 24]),
        # MMEngine's: ends of passes of four iterations count, which are shorter than the interval
        (6, dict(by_epoch=True, length=3), [4, 8, 12]),
    ],
)
def test_lines(tmp_path: Path, interval: int | None, options: dict, expected: list[int]) -> None:
    hook = PacedLoggerHook(interval=interval)
    found = logged(tmp_path, hook, checkpoint=dict(interval=-1, save_last=False), **options)
    assert found[: len(expected)] == expected
    assert hook.interval == (interval or 50)  # that of an evaluation
