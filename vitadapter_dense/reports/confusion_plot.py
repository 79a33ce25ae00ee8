"""A confusion matrix as a picture and as the list of what is mistaken most often."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vitadapter_dense.reports.output_files import write_output

WRITTEN_NUMBERS = 20  # with more classes the cells are too small for them


def draw_confusions(matrix: np.ndarray, classes: Sequence[str], *, out: Path, command: str) -> None:
    """Writes the matrix as a picture, each row in percent of the class's pixels.

    A class without pixels has an empty row; one that is not predicted either is left out.

    Args:
        matrix: ``(K, K)`` pixels, true classes by predicted ones.
        classes: their K names.
        out: the picture; nothing is written over that ``command`` did not make.
        command: name of the command that writes.

    Raises:
        OutputError: another hand made the file that is there.
    """
    present = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    matrix, names = matrix[np.ix_(present, present)], [classes[index] for index in present]
    with np.errstate(invalid='ignore'):
        percent = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    number, absent = len(names), len(classes) - len(names)
    side = max(5.0, 0.24 * number + 2)  # inches
    figure = Figure(figsize=(side + 1, side), layout='constrained')
    axes = figure.subplots()
    shown = axes.imshow(percent, cmap='Blues', vmin=0, vmax=100)
    large = 8 + side / 3
    bar = figure.colorbar(shown, fraction=0.3 / side, aspect=3 * side, pad=0.02)
    bar.set_label("% of the class's pixels", fontsize=large)
    bar.ax.tick_params(labelsize=large)
    size = 9 if number <= WRITTEN_NUMBERS else 7
    axes.set_xticks(range(number), names, rotation=90, fontsize=size)
    axes.set_yticks(range(number), names, fontsize=size)
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
    with write_output(out, command=command) as partial:
        figure.savefig(partial, dpi=110)


def worst_confusions(
    matrix: np.ndarray, classes: Sequence[str], *, count: int
) -> list[tuple[str, str, int, float]]:
    """The most frequent confusions: true and predicted class, pixels, share of the true class."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    total = matrix.sum(axis=1)
    places = np.argsort(-wrong, axis=None, kind='stable')[:count]
    pairs = zip(*np.unravel_index(places, wrong.shape), strict=True)
    return [
        (classes[true], classes[found], int(wrong[true, found]), wrong[true, found] / total[true])
        for true, found in pairs
        if wrong[true, found]
    ]
