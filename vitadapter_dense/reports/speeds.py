"""How fast the forms of a model are: a table on the console and in a file, and bars."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from matplotlib.figure import Figure

from vitadapter_dense.reports.output_files import write_output

COLUMNS = {  # as the console calls them, and writes them
    'form': ('form', '{}'),
    'images': ('images', '{}'),
    'images_per_second': ('a second', '{:.2f}'),
    'median_ms': ('median, ms', '{:.1f}'),
    'p90_ms': ('90 %, ms', '{:.1f}'),
    'times_as_fast': ('times as fast', '{:.2f}'),
    'peak_mb': ('peak, MB', '{:.0f}'),
    'deviation': ('deviation', '{:.1e}'),
    'to_make_s': ('to make, s', '{:.0f}'),
}
_COLOURS = ('#4c78a8', '#f58518', '#54a24b', '#b279a2', '#9d755d')


@dataclass(frozen=True)
class Speed:
    """A form in one case.

    Args:
        form: its name.
        images: what it is given, in words.
        images_per_second: of all calls together.
        median_ms: of a call.
        p90_ms: nine of ten calls take at most so long.
        times_as_fast: as the first form; of the medians.
        peak_mb: memory while it runs; None where nothing counts it.
        deviation: from the first form's outputs, of the largest number; None where none is told.
        to_make_s: to compile or to export.
    """

    form: str
    images: str
    images_per_second: float
    median_ms: float
    p90_ms: float
    times_as_fast: float
    peak_mb: float | None
    deviation: float | None
    to_make_s: float | None

    def cells(self) -> list[str]:
        """For the console."""
        values = asdict(self)
        return [
            '-' if values[name] is None else shape.format(values[name])
            for name, (_, shape) in COLUMNS.items()
        ]


def speed_table(speeds: Sequence[Speed]) -> list[str]:
    """Lines for the console."""
    table = [[title for title, _ in COLUMNS.values()], *(each.cells() for each in speeds)]
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        '  '.join(
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, wide, strict=True))
        )
        for row in table
    ]


def write_speeds(
    speeds: Sequence[Speed], about: dict[str, object], out: Path, *, command: str
) -> None:
    """Writes all digits, and in every row what is the same for all.

    Args:
        speeds: what was measured.
        about: of what, and where.
        out: the CSV file.
        command: who writes.
    """
    names = [field.name for field in fields(Speed)]
    with write_output(out, command=command) as partial, partial.open('w', newline='') as stream:
        writer = csv.DictWriter(stream, [*names, *about])
        writer.writeheader()
        writer.writerows(asdict(each) | about for each in speeds)


def draw_speeds(speeds: Sequence[Speed], title: str, out: Path, *, command: str) -> None:
    """Draws a bar a form, in groups by case: images a second."""
    cases = list(dict.fromkeys(each.images for each in speeds))
    forms = list(dict.fromkeys(each.form for each in speeds))
    step = len(forms) + 1
    height = max(2.2, 0.22 * step * len(cases) + 1.2)
    figure = Figure(figsize=(8, height), layout='constrained')
    axes = figure.subplots()
    for number, form in enumerate(forms):
        found = [each for each in speeds if each.form == form]
        places = [cases.index(each.images) * step + number for each in found]
        values = [each.images_per_second for each in found]
        bars = axes.barh(
            places, values, height=0.9, label=form, color=_COLOURS[number % len(_COLOURS)]
        )
        texts = [f'{each.images_per_second:.2f}  ({each.times_as_fast:.2f} x)' for each in found]
        axes.bar_label(bars, texts, padding=3, fontsize=8)
    axes.set_yticks([place * step + (step - 2) / 2 for place in range(len(cases))], cases)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(each.images_per_second for each in speeds))  # room for the numbers
    axes.grid(axis='x', alpha=0.3)
    axes.set_xlabel(f'images a second (in brackets: times as fast as {forms[0]})')
    axes.set_title(title)
    figure.legend(fontsize='small', loc='outside right upper')
    with write_output(out, command=command) as partial:
        figure.savefig(partial, dpi=110)
