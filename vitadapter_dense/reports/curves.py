"""Curves of the losses, learning rates and metrics that runs logged."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.reports.run_logs import Curves

DEFAULT_METRICS = ('bbox_mAP', 'segm_mAP', 'mIoU')
MOST_PARTS = 9  # losses beside the total that a plot can show
MARKED_POINTS = 40  # a line through fewer points shows each of them; a single one is no line


def chosen_losses(runs: Sequence[Curves], keys: Sequence[str] | None) -> list[str]:
    """Names of the losses to plot: those asked for, else each of one run, the totals of several.

    Of more than a plot can show, the largest are taken.

    Raises:
        ValueError: when a scalar was asked for that no run has.
    """
    if keys is not None:
        return _known(keys, [record for run in runs for record in run.train.values()])
    if len(runs) > 1:
        return ['loss']
    sizes: dict[str, list[float]] = {}
    for record in runs[0].train.values():
        for key, value in record.items():
            if key != 'loss' and key.split('.')[-1].startswith('loss') and isfinite(value):
                sizes.setdefault(key, []).append(abs(value))
    parts = sorted(sizes, key=lambda key: -sum(sizes[key]) / len(sizes[key]))
    return ['loss', *parts[:MOST_PARTS]] if len(parts) > 1 else ['loss']


def chosen_metrics(runs: Sequence[Curves], keys: Sequence[str] | None) -> list[str]:
    """Names of the metrics to plot: those asked for, else the usual ones that were logged.

    Raises:
        ValueError: when a metric was asked for that no run has.
    """
    records = [record for run in runs for record in run.metrics.values()]
    if keys is not None:
        return _known(keys, records)
    logged = {key for record in records for key in record}
    return sorted(key for key in logged if key.split('/')[-1] in DEFAULT_METRICS)


def _known(keys: Sequence[str], records: Sequence[dict[str, float]]) -> list[str]:
    logged = {key for record in records for key in record}
    unknown = [key for key in keys if key not in logged]
    if unknown:
        known = ', '.join(sorted(logged - {'step', 'iter', 'epoch'}))
        raise ValueError(f'no run logged {", ".join(unknown)}; logged: {known or "nothing"}')
    return list(keys)


def draw_curve(axes: Axes, points: Sequence[tuple[int, float]], *, label: str) -> None:
    """Draws a line through points (step, value), with markers where they are few."""
    if points:
        marker = 'o' if len(points) <= MARKED_POINTS else ''
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=label)


def curves_figure(
    runs: Sequence[Curves], *, losses: Sequence[str] | None = None, metrics: Sequence[str]
) -> Figure:
    """Draws losses, learning rates and metrics, from left to right.

    Args:
        runs: what is drawn.
        losses: scalars of the left plot; by default as `chosen_losses` says.
        metrics: scalars of the right plot.
    """
    losses = chosen_losses(runs, None) if losses is None else losses
    figure = Figure(figsize=(15, 4.5), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    for run in runs:
        name = f'{run.name}: ' if len(runs) > 1 else ''
        for key in losses:
            draw_curve(left, _points(run.train, key), label=name + key)
        draw_curve(middle, _points(run.train, 'lr'), label=name + 'lr')
        for key in metrics:
            draw_curve(right, _points(run.metrics, key), label=name + key)
    left.set(title='Losses', xlabel='iteration')
    middle.set(title='Learning rate', xlabel='iteration')
    right.set(title='Validation', xlabel=runs[0].step_name)
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(axes.lines) > 1 or axes is right and axes.lines:
            axes.legend(fontsize='small')
        if not axes.lines:
            axes.text(0.5, 0.5, 'nothing was logged', transform=axes.transAxes, ha='center')
    return figure


def _points(records: dict[int, dict[str, float]], key: str) -> list[tuple[int, float]]:
    return [(step, record[key]) for step, record in sorted(records.items()) if key in record]


def plot_curves(
    runs: Sequence[Curves],
    *,
    losses: Sequence[str] | None = None,
    metrics: Sequence[str],
    out: Path,
    command: str,
) -> None:
    """Writes the picture that `curves_figure` draws.

    Args:
        runs: what is drawn.
        losses: as for `curves_figure`.
        metrics: as for `curves_figure`.
        out: the picture; nothing is written over that ``command`` did not make.
        command: name of the command that writes.

    Raises:
        OutputError: another hand made the file that is there.
    """
    figure = curves_figure(runs, losses=losses, metrics=metrics)
    with write_output(out, command=command) as partial:
        figure.savefig(partial, dpi=110)
