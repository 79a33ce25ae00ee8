"""What classifiers of objects gave, by tuning method: a table, and accuracy against parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vitadapter_dense.reports.output_files import write_output

Run = tuple[str, float, int, int]
"""Name of the method, learning rate, fold that is tested, seed."""
Result = Mapping[str, Any]
"""As `vitadapter_dense.training.crop_transfer.tune_classifier` gives it."""
CROP_FILES = ('table.md', 'plot.png')
SHOTS = {'many': (100, np.inf), 'medium': (20, 100), 'few': (0, 20)}
"""Groups of classes: more than the first number of training pictures, at most the second."""


def accuracy(result: Result, name: str = 'clean', classes: Sequence[int] | None = None) -> float:
    """Share of the pictures that is right, in percent; of some classes, or of all."""
    own = slice(None) if classes is None else list(classes)
    right, total = (np.array(one)[own].sum() for one in (result['right'][name], result['total']))
    return 100 * float(right / total) if total else float('nan')


def balanced(result: Result) -> float:
    """The mean over the classes that are tested, in percent."""
    tested = np.flatnonzero(result['total'])
    return float(np.mean([accuracy(result, classes=[label]) for label in tested]))


def corrupted(result: Result) -> float:
    """The mean accuracy over the corruptions, in percent."""
    return float(np.mean([accuracy(result, name) for name in result['right'] if name != 'clean']))


def shot_groups(counts: Sequence[float]) -> dict[str, list[int]]:
    """The classes of each group, by their numbers of training pictures."""
    return {
        name: [label for label, count in enumerate(counts) if least < count <= most]
        for name, (least, most) in SHOTS.items()
    }


@dataclass(frozen=True)
class Folds:
    """A value by fold.

    Attributes:
        values: (folds,), each the mean over the seeds.
    """

    values: np.ndarray

    @property
    def mean(self) -> float:
        """Over the folds that have a value; nan where none has."""
        found = self.values[~np.isnan(self.values)]
        return float(found.mean()) if found.size else float('nan')

    @property
    def range(self) -> float:
        """From the lowest to the highest fold."""
        return float(np.nanmax(self.values) - np.nanmin(self.values))

    def __str__(self) -> str:
        return f'{self.mean:.1f} ({np.nanmin(self.values):.1f} to {np.nanmax(self.values):.1f})'


def best_rates(search: Mapping[Run, Result]) -> dict[str, float]:
    """For each method the rate with the highest accuracy; of equals, with the lowest loss."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for (method, rate, _, _), result in search.items():
        loss = np.nan_to_num(result['loss'], nan=np.inf)
        found.setdefault(method, []).append((accuracy(result), -loss, rate))
    return {method: max(each)[2] for method, each in found.items()}


def search_table(search: Mapping[Run, Result | None]) -> str:
    """The accuracy of each method at each rate in Markdown; a dash where the run is missing."""
    rates = sorted({rate for _, rate, *_ in search})
    lines = [f'| method | {" | ".join(f"{rate:g}" for rate in rates)} |']
    lines += ['|---' * (len(rates) + 1) + '|']
    for method in dict.fromkeys(name for name, *_ in search):
        found = {run[1]: result for run, result in search.items() if run[0] == method}
        cells = [f'{accuracy(one):.1f}' if (one := found.get(rate)) else '-' for rate in rates]
        lines.append(f'| {method} | {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def by_fold(runs: Mapping[Run, Result], value: Callable[[Result], float]) -> Folds:
    """A value of one method's runs: over the seeds of each fold."""
    folds: dict[int, list[float]] = {}
    for (_, _, fold, _), result in sorted(runs.items()):
        folds.setdefault(fold, []).append(value(result))
    return Folds(np.array([np.mean(each) for each in folds.values()]))


def crop_rows(results: Mapping[Run, Result], *, reference: str = 'full') -> list[dict[str, Any]]:
    """A row a method.

    Args:
        results: the final runs, each method at one rate.
        reference: the method that differences are taken to; the first one where it is missing.
    """
    methods = {name: {} for name, *_ in results}
    for run, result in results.items():
        methods[run[0]][run] = result
    trained_on = np.mean([result['trained_on'] for result in results.values()], axis=0)
    groups = shot_groups(trained_on.tolist())
    rows = []
    for method, runs in methods.items():
        first = next(iter(runs.values()))
        row = dict(
            method=method,
            rate=next(iter(runs))[1],
            parameters=first['backbone_parameters'],
            head=first['head_parameters'],
            clean=by_fold(runs, accuracy),
            balanced=by_fold(runs, balanced),
            corrupted=by_fold(runs, corrupted),
            seconds=float(np.mean([result['seconds'] for result in runs.values()])),
        )
        for name, classes in groups.items():
            row[name] = by_fold(runs, lambda one, own=classes: accuracy(one, classes=own))
        rows.append(row)
    base = next((row for row in rows if row['method'] == reference), rows[0])
    for row in rows:
        row['reference'] = base['method']
        for what in ('clean', 'corrupted'):
            row[f'{what}_difference'] = difference(row[what], base[what])
    return rows


def difference(own: Folds, base: Folds) -> str:
    """The means' difference; `none` where it is below the larger range of the folds."""
    found = own.mean - base.mean
    if len(own.values) < 2:  # which tells nothing of how far folds are apart
        return f'({found:+.1f})'
    told = abs(found) >= max(own.range, base.range)
    return f'{found:+.1f}' if told else f'none ({found:+.1f})'


def crop_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    reference = rows[0]['reference']
    titles = ['method', 'trained in the backbone', 'rate', 'accuracy, %', f'to {reference}']
    titles += ['balanced', *SHOTS, 'corrupted, %', f'to {reference}', 'share left', 's a run']
    lines = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for row in rows:
        cells = [row['method'], f'{row["parameters"]:,}', f'{row["rate"]:g}']
        cells += [str(row['clean']), row['clean_difference'], f'{row["balanced"].mean:.1f}']
        cells += [f'{row[name].mean:.1f}' for name in SHOTS]
        cells += [str(row['corrupted']), row['corrupted_difference']]
        cells += [f'{row["corrupted"].mean / row["clean"].mean:.0%}', f'{row["seconds"]:.0f}']
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def group_line(results: Mapping[Run, Result], classes: Sequence[str]) -> str:
    """Which classes the groups have, and how many pictures of each."""
    total = np.mean([result['trained_on'] for result in results.values()], axis=0)
    groups = shot_groups(total.tolist())
    texts = [
        f'{name}: ' + ', '.join(f'{classes[label]} {total[label]:.0f}' for label in own)
        for name, own in groups.items()
    ]
    return f'Training pictures of a class, mean over the folds: {"; ".join(texts)}.'


def draw_crops(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy against trained parameters: clean ones filled, corrupted ones hollow."""
    figure = Figure(figsize=(8.4, 4.6), layout='constrained')
    axes = figure.subplots()
    for number, (row, marker) in enumerate(zip(rows, itertools.cycle('osD^vP*X'), strict=False)):
        x, colour = row['parameters'] + row['head'], f'C{number % 10}'
        clean, worse = row['clean'].mean, row['corrupted'].mean
        axes.plot([x, x], [clean, worse], color=colour, linewidth=1, alpha=0.5)
        axes.plot(x, clean, marker=marker, color=colour, linestyle='', label=row['method'])
        axes.plot(x, worse, marker=marker, color=colour, linestyle='', markerfacecolor='none')
    axes.set(
        xscale='log',
        xlabel='trained parameters, head included',
        ylabel='accuracy (%): filled clean, hollow corrupted',
    )
    figure.legend(loc='outside right center', frameon=False)
    return figure


def write_crops(
    results: Mapping[Run, Result],
    search: Mapping[Run, Result],
    out: Path,
    *,
    classes: Sequence[str],
    command: str,
) -> list[Path]:
    """Writes ``table.md`` and ``plot.png``; both paths are returned.

    Args:
        results: the final runs.
        search: those that chose the rates.
        out: the folder.
        classes: names.
        command: name of what writes them, see :mod:`vitadapter_dense.reports.output_files`.
    """
    table, plot = (out / name for name in CROP_FILES)
    rows = crop_rows(results)
    with write_output(table, command=command) as partial:
        parts = (crop_table(rows), f'{group_line(results, classes)}\n', search_table(search))
        partial.write_text('\n'.join(parts))
    with write_output(plot, command=command) as partial:
        draw_crops(rows).savefig(partial, dpi=110)
    return [table, plot]
