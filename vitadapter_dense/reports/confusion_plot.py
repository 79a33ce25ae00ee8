"""A confusion matrix as a picture and as the list of what is mistaken most often."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.reports.plots import name_ticks

WRITTEN_NUMBERS = 20  # with more classes the cells are too small for them


def axis_names(matrix: np.ndarray, classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the rows and the columns are: the classes, and of a detector what has no partner."""
    if len(matrix) == len(classes):
        return list(classes), list(classes)
    return [*classes, '(false)'], [*classes, '(missed)']


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], *, unit: str) -> Figure:
    """Draws the matrix, each row in percent of its sum.

    A class that never occurs has an empty row; one that is not predicted either is left out.

    Args:
        matrix: ``(K, K)`` counts, true classes by predicted ones; ``(K + 1, K + 1)`` of a detector.
        classes: their K names.
        unit: what is counted.
    """
    rows, columns = axis_names(matrix, classes)
    present = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    if len(rows) > len(classes):  # what has no partner is shown even where there is none
        present = np.union1d(present, len(classes))
    absent = len(rows) - len(present)
    matrix = matrix[np.ix_(present, present)]
    with np.errstate(invalid='ignore'):
        percent = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    number = len(present)
    side = max(5.0, 0.24 * number + 2)  # inches
    figure = Figure(figsize=(side + 1, side), layout='constrained')
    axes = figure.subplots()
    shown = axes.imshow(percent, cmap='Blues', vmin=0, vmax=100)
    large = 8 + side / 3
    bar = figure.colorbar(shown, fraction=0.3 / side, aspect=3 * side, pad=0.02)
    bar.set_label(f'% of the {unit} of the row', fontsize=large)
    bar.ax.tick_params(labelsize=large)
    size = 9 if number <= WRITTEN_NUMBERS else 7
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, rows)):
        name_ticks(axis, range(number), [names[index] for index in present], fontsize=size)
    axes.tick_params(axis='x', rotation=90)
    axes.set_xlabel('predicted', fontsize=large)
    axes.set_ylabel('true', fontsize=large)
    if absent:
        axes.set_title(f'{absent} classes that are nowhere are left out', fontsize=large)
    if number <= WRITTEN_NUMBERS:
        for row, column in zip(*np.nonzero(~np.isnan(percent)), strict=True):
            value = percent[row, column]
            colour = 'white' if value > 50 else 'black'
            text = f'{value:.0f}'
            axes.text(column, row, text, ha='center', va='center', color=colour, fontsize=size)
    return figure


def draw_confusions(
    matrix: np.ndarray, classes: Sequence[str], *, unit: str, out: Path, command: str
) -> None:
    """Writes the picture that `confusion_figure` draws, and the counts as a CSV beside it.

    Args:
        matrix: as for `confusion_figure`.
        classes: as for `confusion_figure`.
        unit: as for `confusion_figure`.
        out: the picture; nothing is written over that ``command`` did not make.
        command: name of the command that writes.

    Raises:
        OutputError: another hand made the file that is there.
    """
    figure = confusion_figure(matrix, classes, unit=unit)
    with write_output(out, command=command) as partial:
        figure.savefig(partial, dpi=110)
    rows, columns = axis_names(matrix, classes)
    with (
        write_output(out.with_suffix('.csv'), command=command) as partial,
        partial.open('w', newline='') as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(('true \\ predicted', *columns))
        writer.writerows((name, *row) for name, row in zip(rows, matrix, strict=True))


def worst_confusions(
    matrix: np.ndarray, classes: Sequence[str], *, count: int
) -> list[tuple[str, str, int, float]]:
    """The most frequent confusions of one class with another.

    Returns:
        True and predicted class, how often, and the share of the true class that this is.
    """
    wrong = matrix[: len(classes), : len(classes)].copy()
    np.fill_diagonal(wrong, 0)
    total = matrix.sum(axis=1)
    places = np.argsort(-wrong, axis=None, kind='stable')[:count]
    pairs = zip(*np.unravel_index(places, wrong.shape), strict=True)
    return [
        (classes[true], classes[found], int(wrong[true, found]), wrong[true, found] / total[true])
        for true, found in pairs
        if wrong[true, found]
    ]
