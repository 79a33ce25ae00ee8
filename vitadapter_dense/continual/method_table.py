"""What a comparison of methods over one sequence of tasks found: a table and plots."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitadapter_dense.reports.output_files import write_output

TABLE_FILES = ('table.md', 'plot.png')
_COLUMNS = ('average', 'when_learnt', 'forgetting_from_best', 'forgetting_by_step')
_WEIGHT = re.compile(r'pooled_lwf_([\d.e+-]+)$')  # a run with a weight of its own


def by_method(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The runs of each method, the best method first by its mean accuracy after the last task."""
    found = seeds_of_methods(runs)
    return dict(sorted(found.items(), key=lambda item: -mean_of(item[1], 'average')))


def seeds_of_methods(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The runs of each method, in the order in which methods come."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        found.setdefault(run['method'], []).append(run)
    return found


def mean_of(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    """Mean over the seeds of a figure; NaN where a method has none."""
    return float(_values(runs, name).mean())


def _values(runs: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([run['summary'].get(name) for run in runs], float)  # None becomes NaN


def write_methods(runs: Sequence[Mapping[str, Any]], out: Path, *, command: str) -> list[Path]:
    """Writes ``table.md`` and ``plot.png``.

    Args:
        runs: what every seed of every method gave, with its `method` and `seed`.
        out: the folder.
        command: name of what writes them, see :mod:`vitadapter_dense.reports.output_files`.
    """
    methods = by_method(runs)
    lines = [
        '| method | seeds | accuracy | when learnt | forgetting: from best | by step | from first '
        '| a task trains | its delta, KB |',
        '|---|---|---|---|---|---|---|---|---|',
        *(_line(name, own) for name, own in methods.items()),
    ]
    return write_table(lines, _figure(methods), out, command=command)


def write_table(lines: Sequence[str], figure: Figure, out: Path, *, command: str) -> list[Path]:
    """Writes the lines of a comparison and its figure, as `TABLE_FILES` names them."""
    table, plot = (out / name for name in TABLE_FILES)
    with write_output(table, command=command) as partial:
        partial.write_text('\n'.join(lines) + '\n')
    with write_output(plot, command=command) as partial:
        figure.savefig(partial, dpi=100)
    return [table, plot]


def _line(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    figures = [_values(runs, column) for column in (*_COLUMNS, 'forgetting_from_first')]
    return table_line(name, figures, runs[0]['tasks'][-1])


def table_line(name: str, figures: Sequence[np.ndarray], task: Mapping[str, Any]) -> str:
    """A method's line of a table.

    Args:
        name: of the method.
        figures: of each column, ``(S,)`` for the seeds.
        task: the last one, which tells how many numbers it trains and how large its delta is.
    """
    delta = task.get('delta_bytes')
    size = '-' if delta is None else f'{delta / 1024:.0f}'
    cells = [name, str(len(figures[0])), *map(_cell, figures), f'{task["trained_parameters"]:,}']
    return f'| {" | ".join([*cells, size])} |'


def _cell(values: np.ndarray) -> str:
    """Mean and range over the seeds; '-' where one has none."""
    if not np.isfinite(values).all():
        return '-'
    return f'{values.mean():.1f}' + (f' ({np.ptp(values):.1f})' if len(values) > 1 else '')


def _figure(methods: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    weights = {float(found[1]): name for name in methods if (found := _WEIGHT.match(name))}
    if weights and 'pooled' in methods:
        weights[0.0] = 'pooled'
    figure = Figure(figsize=(10 if weights else 6, 4.2), layout='constrained')
    axes = figure.subplots(1, 2 if weights else 1, squeeze=False)[0]
    markers = itertools.cycle('osD^vP*X<>hp')
    for name, runs in methods.items():
        forgotten = mean_of(runs, 'forgetting_from_best')
        if np.isfinite(forgotten) and not _WEIGHT.match(name):
            point = forgotten, mean_of(runs, 'average')
            axes[0].plot(*point, next(markers), markersize=8, label=name)
    if 'joint' in methods:
        axes[0].axhline(mean_of(methods['joint'], 'average'), ls='--', color='grey', label='joint')
    labels = dict(xlabel='forgetting from best', ylabel='accuracy after the last task, %')
    axes[0].set(ylim=(0, 100), **labels)
    axes[0].legend(fontsize='x-small', ncols=3, loc='upper center')
    axes[0].grid(alpha=0.3)
    if weights:
        _trade_off(axes[1], {weight: methods[name] for weight, name in sorted(weights.items())})
    return figure


def _trade_off(axes: Axes, runs: Mapping[float, Sequence[Mapping[str, Any]]]) -> None:
    """New accuracy against forgetting over the weight of LwF on the generator.

    Seeds differ more than weights: those count that all weights have.
    """
    shared = set.intersection(*({run['seed'] for run in own} for own in runs.values()))
    runs = {weight: [run for run in own if run['seed'] in shared] for weight, own in runs.items()}
    points = [
        (mean_of(own, 'forgetting_from_best'), mean_of(own, 'when_learnt')) for own in runs.values()
    ]
    axes.plot(*zip(*points, strict=True), 'o-')
    for weight, point in zip(runs, points, strict=True):
        axes.annotate(f'{weight:g}', point, xytext=(5, 4), textcoords='offset points')
    axes.set(
        xlabel='forgetting from best',
        ylabel='accuracy of a task when learnt, %',
        title=f'weight of LwF on the generator; seeds: {len(shared)}',
    )
    axes.grid(alpha=0.3)
