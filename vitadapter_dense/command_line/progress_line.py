"""How far a tool has come with a number of images: a line on a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
import time

PAUSE_S = 10.0  # between two lines that stay


class ProgressLine:
    """A line that is redrawn on a terminal; elsewhere, a new line for a quarter that takes long."""

    def __init__(self) -> None:
        self.start = self.told = time.monotonic()
        self.quarters = 0

    def __call__(self, done: int, total: int) -> None:
        """Shows that so many are done."""
        elapsed = time.monotonic() - self.start
        left = elapsed / done * (total - done)
        text = f'{done}/{total} images, {elapsed:.0f} s, {left:.0f} s to go'
        if sys.stdout.isatty():
            end = '\n' if done == total else ''
            print(f'\r{text:<60}', end=end, flush=True)  # noqa: T201
        elif done * 4 // total > self.quarters and time.monotonic() - self.told > PAUSE_S:
            self.quarters, self.told = done * 4 // total, time.monotonic()
            print(text, flush=True)  # noqa: T201
