"""What a sequence of tasks leaves: the matrix as JSON, CSV and picture, and curves over tasks."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitadapter_dense.continual.json_files import json_text
from vitadapter_dense.continual.metrics import average_curve, summarize
from vitadapter_dense.reports.output_files import write_output

COMMAND = 'train_continual'
FILES = ('results.json', 'matrix.csv', 'matrix.png', 'curve.png')
_WRITTEN_TASKS = 12  # with more, cells are too small for numbers
_GROUPS = ('base', 'old', 'new', 'all')


def matrix_of(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """(T, T), NaN above the diagonal, and in the rows that a joint training has not."""
    matrix = np.full((len(rows), len(rows)), np.nan)
    for task, row in enumerate(rows):
        matrix[task, : len(row)] = row
    return matrix


def results_of(tasks: Sequence[Mapping[str, Any]], *, joint: bool) -> dict[str, Any]:
    """The figures of one seed.

    Args:
        tasks: what is noted of each task that is done, with its `row` of the matrix and its means
            over `groups` of classes.
        joint: there is one row alone, the last.
    """
    rows = [task['row'] for task in tasks]
    if joint:
        rows = [[math.nan]] * (len(rows[0]) - 1) + rows
    matrix = matrix_of(rows)
    if joint:
        summary = dict(average=float(np.mean(matrix[-1])))
    else:
        summary = summarize(matrix)
    return dict(matrix=matrix.tolist(), summary=summary, tasks=list(tasks))


def over_seeds(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean, least and most of every figure of the seeds."""
    names = results[0]['summary']
    found = {}
    for name in names:
        values = [one['summary'][name] for one in results]
        found[name] = dict(mean=float(np.mean(values)), least=min(values), most=max(values))
    return found


def write_results(
    folder: Path, results: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> list[Path]:
    """Writes the files of one seed, or of the means of several.

    Args:
        folder: where to.
        results: of every seed, as `results_of` gives them.
        facts: what the figures are of, for the JSON: `metric`, `groups`, ...
    """
    paths = [folder / name for name in FILES]
    matrix = np.mean([one['matrix'] for one in results], axis=0)
    content: dict[str, Any] = dict(facts, matrix=matrix.tolist())
    if len(results) == 1:
        content |= {key: results[0][key] for key in ('summary', 'tasks')}
    else:
        content |= dict(summary=over_seeds(results), matrices=[one['matrix'] for one in results])
    with write_output(paths[0], command=COMMAND) as partial:
        partial.write_text(json_text(content))
    with write_output(paths[1], command=COMMAND) as partial, partial.open('w', newline='') as out:
        writer = csv.writer(out)
        writer.writerow(['after task', *(f'task {task}' for task in range(len(matrix)))])
        for task, row in enumerate(matrix):
            writer.writerow([task, *('' if np.isnan(value) else value for value in row)])
    figures = (_matrix_figure(matrix, facts), _curve_figure(results, facts))
    for path, figure in zip(paths[2:], figures, strict=True):
        with write_output(path, command=COMMAND) as partial:
            figure.savefig(partial, dpi=90)
    return paths


def summary_lines(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The figures as lines for the console; of several seeds the mean and the range."""
    lines = []
    for name, found in over_seeds(results).items():
        if not math.isfinite(found['mean']):
            continue
        spread = f'  ({found["least"]:.2f} to {found["most"]:.2f})' if len(results) > 1 else ''
        lines.append(f'{name:<22} {found["mean"]:7.2f}{spread}')
    groups = [one['tasks'][-1]['groups'] for one in results]
    means = {name: np.mean([one[name] for one in groups]) for name in _GROUPS}
    shown = (f'{name} {value:.2f}' for name, value in means.items() if np.isfinite(value))
    return [*lines, f'{"classes":<22} {", ".join(shown)}']


def _matrix_figure(matrix: np.ndarray, facts: Mapping[str, Any]) -> Figure:
    number = len(matrix)
    side = min(8.0, max(3.6, 0.5 * number + 1.6))  # inches
    figure = Figure(figsize=(side + 0.8, side), layout='constrained')
    axes = figure.subplots()
    shown = axes.imshow(matrix, cmap='viridis', vmin=0, vmax=100)
    figure.colorbar(shown, label=f'{facts["metric"]}, %')
    axes.set(xlabel='on task', ylabel='after task')
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    if number <= _WRITTEN_TASKS:
        for row, column in zip(*np.nonzero(np.isfinite(matrix)), strict=True):
            value = matrix[row, column]
            colour = 'black' if value > 60 else 'white'
            axes.text(column, row, f'{value:.0f}', ha='center', va='center', color=colour)
    return figure


def _curve_figure(results: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(6, 3.6), layout='constrained')
    axes = figure.subplots()
    matrices = np.array([one['matrix'] for one in results])
    curves = np.array([average_curve(matrix) for matrix in matrices])
    steps = np.arange(curves.shape[1])
    axes.plot(steps, curves.mean(axis=0), 'o-', linewidth=2.5, label='mean over tasks seen')
    if len(results) > 1:
        axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), alpha=0.2)
    for task in range(min(len(steps), _WRITTEN_TASKS)):
        own = matrices[:, task:, task].mean(axis=0)
        axes.plot(steps[task:], own, '.-', linewidth=1, alpha=0.7, label=f'task {task}')
    axes.set(xlabel='after task', ylabel=f'{facts["metric"]}, %', ylim=(0, 100))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize='x-small', ncols=2)
    return figure
