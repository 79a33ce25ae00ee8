"""Curves of the losses and metrics that runs logged.

A run and its resumptions make one curve: where they overlap, the later one stands.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitadapter_dense.reports.output_files import write_output

DEFAULT_METRICS = ('bbox_mAP', 'segm_mAP', 'mIoU')


MARKED_POINTS = 40  # a line through fewer points shows each of them; a single one is no line


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


def chosen_metrics(runs: Sequence[Curves], keys: Sequence[str] | None) -> list[str]:
    """Names of the metrics to plot: those asked for, else the usual ones that were logged.

    Raises:
        ValueError: when a metric was asked for that no run has.
    """
    logged = {key for run in runs for record in run.metrics.values() for key in record}
    if keys is None:
        return sorted(key for key in logged if key.split('/')[-1] in DEFAULT_METRICS)
    unknown = [key for key in keys if key not in logged]
    if unknown:
        known = ', '.join(sorted(logged - {'step'}))
        raise ValueError(f'no run logged {", ".join(unknown)}; logged: {known or "no metric"}')
    return list(keys)


def draw_curve(axes: Axes, points: Sequence[tuple[int, float]], *, label: str) -> None:
    """Draws a line through points (step, value), with markers where they are few."""
    if points:
        marker = 'o' if len(points) <= MARKED_POINTS else ''
        axes.plot(*zip(*points, strict=True), marker=marker, label=label)


def plot_curves(
    runs: Sequence[Curves],
    *,
    losses: Sequence[str],
    metrics: Sequence[str],
    out: Path,
    command: str,
) -> None:
    """Draws losses on the left and metrics on the right and writes the picture.

    Args:
        runs: what is drawn.
        losses: scalars of the left plot.
        metrics: scalars of the right plot.
        out: the picture; nothing is written over that ``command`` did not make.
        command: name of the command that writes.

    Raises:
        OutputError: another hand made the file that is there.
    """
    figure = Figure(figsize=(13, 4.5))
    left, right = figure.subplots(1, 2)
    for run in runs:
        for key in losses:
            points = [(step, rec[key]) for step, rec in sorted(run.train.items()) if key in rec]
            draw_curve(left, points, label=f'{run.name}: {key}')
        for key in metrics:
            points = [(step, rec[key]) for step, rec in sorted(run.metrics.items()) if key in rec]
            draw_curve(right, points, label=f'{run.name}: {key}')
    left.set(title='Training', xlabel='iteration', ylabel='loss')
    right.set(title='Validation', xlabel=runs[0].step_name, ylabel='metric')
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.lines:
            axes.legend(fontsize='small')
    figure.tight_layout()
    with write_output(out, command=command) as partial:
        figure.savefig(partial, dpi=120)
