"""What a comparison of methods over steps of dense classes found: a table and a plot."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vitadapter_dense.continual.method_table import seeds_of_methods, table_line, write_table

_GROUPS = ('base', 'old', 'new', 'all')


def write_steps(
    runs: Sequence[Mapping[str, Any]], out: Path, *, metric: str, command: str
) -> list[Path]:
    """Writes ``table.md`` and ``plot.png``.

    Args:
        runs: what every seed of every method gave, with its `method` and `seed`.
        out: the folder.
        metric: what the scores are: mIoU, mAP, PQ.
        command: name of what writes them, see :mod:`vitadapter_dense.reports.output_files`.
    """
    methods = seeds_of_methods(runs)
    curves = {name: _curves(own) for name, own in methods.items()}  # (seeds, steps, groups)
    order = sorted(methods, key=lambda name: -np.nan_to_num(curves[name][:, -1, 3].mean()))
    lines = [
        f'| method | seeds | base, first step | {" | ".join(_GROUPS)} | a step trains '
        '| its delta, KB |',
        '|---|---|---|---|---|---|---|---|---|',
        *(_line(name, curves[name], methods[name][0]['tasks'][-1]) for name in order),
    ]
    figure = _figure({name: curves[name] for name in order}, metric)
    return write_table(lines, figure, out, command=command)


def _curves(runs: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(S, T, 4), the means of each seed over the groups of classes after each step."""
    values = [[[task['groups'][name] for name in _GROUPS] for task in run['tasks']] for run in runs]
    return np.array(values, float)  # None becomes NaN


def _line(name: str, curves: np.ndarray, last: Mapping[str, Any]) -> str:
    first, groups = curves[:, 0, 0], curves[:, -1].T
    if curves.shape[1] == 1:  # all classes at once
        first = np.full_like(first, np.nan)
    return table_line(name, [first, *groups], last)


def _figure(methods: Mapping[str, np.ndarray], metric: str) -> Figure:
    """Classes of the first step, and all classes seen, after each step."""
    figure = Figure(figsize=(9, 3.8), layout='constrained')
    for axes, name in zip(figure.subplots(1, 2, sharey=True), ('base', 'all'), strict=True):
        markers, dashes = itertools.cycle('osD^vP*X'), itertools.cycle(('--', ':', '-.'))
        for method, curves in methods.items():
            values = curves[:, :, _GROUPS.index(name)].mean(axis=0)
            if len(values) == 1:  # all classes at once
                axes.axhline(values[0], ls=next(dashes), color='grey', label=method)
            else:
                axes.plot(range(1, len(values) + 1), values, f'{next(markers)}-', label=method)
        axes.set(xlabel='after step', ylim=(0, None), title=f'{metric}, classes: {name}')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
    figure.axes[0].set_ylabel(f'{metric}, %')
    return figure
