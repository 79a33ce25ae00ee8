"""Figures by class: as a table on the console and in a file, and as bars."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vitadapter_dense.reports.output_files import write_output
from vitadapter_dense.reports.panoptic_quality import Quality
from vitadapter_dense.reports.plots import name_ticks, plot_text

Value = float | int


@dataclass(frozen=True)
class ClassTable:
    """Figures by class.

    Attributes:
        classes: their names.
        columns: the figures' names, each with a value a class; NaN where there is none. Whole
            numbers are counts.
        full: the value of a full bar, of the figures that are shares.
        bars: the columns that are drawn as bars.
    """

    classes: tuple[str, ...]
    columns: dict[str, Sequence[Value]]
    full: float
    bars: tuple[str, ...]

    def rows(self) -> list[tuple[str, list[str]]]:
        """Each class with its figures as text."""
        values = zip(*self.columns.values(), strict=True)
        return [
            (name, [shown(value, self.full) for value in row])
            for name, row in zip(self.classes, values, strict=True)
        ]

    def text(self, most: int) -> list[str]:
        """Lines for the console: the header and at most so many classes.

        Where there are more, those that are worst in the first bar are chosen.
        """
        rows = self.rows()
        chosen = range(len(rows))
        if len(rows) > most:
            first = np.asarray(self.columns[self.bars[0]], float)
            chosen = sorted(np.argsort(first, kind='stable')[:most].tolist())  # NaN last
        table = [('class', list(self.columns)), *(rows[number] for number in chosen)]
        wide = max(len(plot_text(name)) for name, _ in table)
        wides = [max(len(cells[n]) for _, cells in table) for n in range(len(self.columns))]
        lines = [
            '  '.join([f'{plot_text(name):<{wide}}', *map(str.rjust, cells, wides)])
            for name, cells in table
        ]
        left_out = len(rows) - most
        return [*lines, f'and {left_out} more classes'] if left_out > 0 else lines

    def write_csv(self, out: Path, *, command: str) -> None:
        """Writes the figures with all their digits."""
        with (
            write_output(out, command=command) as partial,
            partial.open('w', newline='') as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(('class', *self.columns))
            values = zip(*self.columns.values(), strict=True)
            writer.writerows((name, *row) for name, row in zip(self.classes, values, strict=True))

    def write_bars(self, out: Path, *, command: str) -> None:
        """Draws the figures that are bars, with their numbers beside them."""
        figure = Figure(
            figsize=(8, max(2.5, 0.17 * len(self.bars) * len(self.classes) + 1.2)),
            layout='constrained',
        )
        axes = figure.subplots()
        height = 0.8 / len(self.bars)
        for number, column in enumerate(self.bars):
            values = np.nan_to_num(np.asarray(self.columns[column], float))
            places = np.arange(len(values)) + number * height
            bars = axes.barh(places, values, height=height, label=column)
            texts = [shown(value, self.full) for value in self.columns[column]]
            axes.bar_label(bars, texts, padding=3, fontsize=7)
        middle = height * (len(self.bars) - 1) / 2
        places = np.arange(len(self.classes)) + middle
        name_ticks(axes.yaxis, places, self.classes)
        axes.set_ylim(len(self.classes) - 0.5 + middle, middle - 0.7)  # the first class on top
        axes.set_xlim(0, 1.1 * self.full)  # room for the numbers
        axes.grid(axis='x', alpha=0.3)
        axes.set_title('By class')
        figure.legend(fontsize='small', loc='outside right upper')
        with write_output(out, command=command) as partial:
            figure.savefig(partial, dpi=110)


def shown(value: Value, full: float) -> str:
    """A figure as text: counts as they are, shares with three digits behind the point, or one."""
    if isinstance(value, (int, np.integer)):
        return f'{value}'
    if isnan(value):
        return '-'
    digits = 3 if full == 1 else 1
    return f'{value:.{digits}f}' if isfinite(value) else str(value)


def segmentation_table(matrix: np.ndarray, classes: Sequence[str]) -> ClassTable:
    """IoU, accuracy and pixels of every class, in percent, from a segmentor's confusion matrix."""
    right, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    columns = {
        'IoU': _share(right, true + found - right),
        'accuracy': _share(right, true),
        'pixels %': _share(true, np.full_like(true, true.sum())),
    }
    percent = {name: (100 * values).tolist() for name, values in columns.items()}
    return ClassTable(tuple(classes), percent, full=100, bars=('IoU', 'accuracy'))


def classification_table(matrix: np.ndarray, classes: Sequence[str]) -> ClassTable:
    """Accuracy, precision and images of every class, from a classifier's confusion matrix."""
    right, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    columns: dict[str, Sequence[Value]] = {
        'accuracy': _share(right, true).tolist(),
        'precision': _share(right, found).tolist(),
        'images': true.tolist(),
    }
    return ClassTable(tuple(classes), columns, full=1, bars=('accuracy', 'precision'))


def panoptic_table(qualities: Mapping[str, Quality | None]) -> ClassTable:
    """PQ, SQ and RQ of every class, in percent; nothing for one that neither occurs nor was found.

    Args:
        qualities: by the class's name.
    """
    columns = {
        what.upper(): [100 * getattr(q, what) if q else float('nan') for q in qualities.values()]
        for what in ('pq', 'sq', 'rq')
    }
    return ClassTable(tuple(qualities), columns, full=100, bars=('PQ',))


def detection_table(
    matrix: np.ndarray | None, classes: Sequence[str], ap: dict[str, Sequence[float]]
) -> ClassTable:
    """Average precisions, and what a detector's confusion matrix says, 0 to 1.

    Args:
        matrix: (K + 1, K + 1), or nothing.
        classes: the K names.
        ap: average precisions by their name, K each; may be empty.
    """
    columns: dict[str, Sequence[Value]] = dict(ap)
    if matrix is not None:
        right, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        columns |= {
            'precision': _share(right, found)[:-1].tolist(),
            'recall': _share(right, true)[:-1].tolist(),
            'objects': true[:-1].tolist(),
        }
    bars = tuple(name for name in ap if name.endswith(' AP')) or ('precision', 'recall')
    return ClassTable(tuple(classes), columns, full=1, bars=bars)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide='ignore', invalid='ignore'):
        return part / whole
