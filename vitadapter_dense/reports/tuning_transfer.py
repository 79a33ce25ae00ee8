"""What a comparison of tuning methods found: a table, and mIoU against trained parameters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vitadapter_dense.datasets.shapes import SHAPES_CLASSES
from vitadapter_dense.reports.output_files import write_output

Run = tuple[str, float, int]
"""Name of the method, learning rate, seed."""
TRANSFER_FILES = ('table.md', 'plot.png')


def summary(results: Mapping[Run, Mapping[str, float]]) -> list[dict[str, Any]]:
    """For each method the rate that is best on ``select``, with what it gives on ``test``.

    Args:
        results: what :func:`vitadapter_dense.training.tuning_transfer.tune` gave, by run.
    """
    rows = []
    for method in dict.fromkeys(name for name, _, _ in results):
        by_rate: dict[float, list[Mapping[str, float]]] = {}
        for (name, rate, _), result in results.items():
            if name == method:
                by_rate.setdefault(rate, []).append(result)
        rate = max(by_rate, key=lambda r: np.mean([run['select'] for run in by_rate[r]]))
        runs = by_rate[rate]
        scores = [run['test'] for run in runs]
        rows.append(
            dict(
                method=method,
                parameters=runs[0]['backbone_parameters'],
                rate=rate,
                mean=float(np.mean(scores)),
                spread=float(np.ptp(scores)),
                seconds=float(np.mean([run['seconds'] for run in runs])),
            )
        )
    return rows


def write_transfer(
    results: Mapping[Run, Mapping[str, float]], out: Path, *, accuracy: float, command: str
) -> list[Path]:
    """Writes ``table.md`` and ``plot.png``.

    Args:
        results: as in :func:`summary`.
        out: the folder.
        accuracy: share of unseen single shapes that the pre-trained backbone tells right.
        command: name of what writes them, see :mod:`vitadapter_dense.reports.output_files`.

    Returns:
        Both files.
    """
    rows = summary(results)
    head = int(next(iter(results.values()))['head_parameters'])
    minutes = sum(run['seconds'] for run in results.values()) / 60
    lines = [
        '| method | trained in the backbone | learning rate | mIoU (range of seeds) | s a run |',
        '|---|---|---|---|---|',
    ]
    lines += [
        f'| {row["method"]} | {row["parameters"]:,} | {row["rate"]:g} | '
        f'{100 * row["mean"]:.1f} ({100 * row["spread"]:.1f}) | {row["seconds"]:.0f} |'
        for row in rows
    ]
    lines += [
        '',
        f'The pre-trained backbone tells {100 * accuracy:.1f} % of unseen single shapes right '
        f'(chance: {100 / len(SHAPES_CLASSES):.0f} %). The head has {head:,} parameters. '
        f'All runs of tuning together: {minutes:.0f} minutes.',
    ]
    table, plot = (out / name for name in TRANSFER_FILES)
    with write_output(table, command=command) as partial:
        partial.write_text('\n'.join(lines) + '\n')
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for row, marker in zip(rows, itertools.cycle('osD^vP*X')):
        point = (row['parameters'] + head, 100 * row['mean'])
        axes.errorbar(
            *point, 50 * row['spread'], marker=marker, linestyle='', capsize=3, label=row['method']
        )
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set(xscale='log', xlabel='trainable parameters, head included', ylabel='mIoU (%)')
    figure.tight_layout()
    with write_output(plot, command=command) as partial:
        figure.savefig(partial, dpi=150)
    return [table, plot]
