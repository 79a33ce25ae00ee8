"""What the runs in a work directory logged, read from their `scalars.json`.

A run and its resumptions make one curve: where they overlap, the later one stands.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Curves:
    """What one run logged: values by iteration for training, by evaluation step for metrics."""

    name: str
    train: dict[int, dict[str, float]] = field(default_factory=dict)
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    broken_lines: int = 0

    @property
    def step_name(self) -> str:
        """What evaluation steps count: epochs, or iterations."""
        epochs = [record['epoch'] for record in self.train.values() if 'epoch' in record]
        counted = epochs and self.metrics and max(self.metrics) <= max(epochs)
        return 'epoch' if counted else 'iteration'


def scalar_files(work_dir: str | Path) -> list[Path]:
    """The scalars that the runs in a work directory logged, oldest first."""
    return sorted(Path(work_dir).glob('*/vis_data/scalars.json'))


def read_curves(work_dir: str | Path, files: Sequence[Path]) -> Curves:
    """Reads what the runs of a work directory logged.

    Args:
        work_dir: gives the curves their name.
        files: the `scalars.json` of its runs, in the order of the runs.

    Raises:
        FileNotFoundError: when nothing was logged there.
    """
    if not files:
        raise FileNotFoundError(
            f'{work_dir} holds no */vis_data/scalars.json: is it the work directory of a training?'
        )
    curves = Curves(Path(work_dir).resolve().name)
    for file in files:
        for line in file.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                # A killed run may leave half a line.
                curves.broken_lines += 1
                continue
            if 'loss' in record:
                curves.train[int(record.get('iter', record.get('step', 0)))] = record
            elif 'step' in record and any('/' in key or 'mIoU' in key for key in record):
                curves.metrics[int(record['step'])] = record
    return curves
