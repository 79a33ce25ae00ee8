"""Bars of what a training step holds, its parts one beside another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from vitadapter_dense.reports.memory_plan import Parts

_COLOURS = ('#4c78a8', '#f58518', '#54a24b', '#b279a2')
_GB = 1e9


def draw_parts(rows: Mapping[str, Parts], path: str | Path, *, limit: float) -> None:
    """Draws a bar for each plan, in GB, and the memory of a GPU as a line.

    Args:
        rows: plans by name.
        path: of the picture.
        limit: bytes of a GPU.
    """
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(rows)), layout='constrained')
    axes = figure.subplots()
    names = list(rows)
    left = [0.0] * len(names)
    for part, colour in zip(Parts._fields, _COLOURS, strict=True):
        widths = [getattr(rows[name], part) / _GB for name in names]
        axes.barh(names, widths, left=left, color=colour, label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    if limit / _GB < 3 * max(left):
        axes.axvline(limit / _GB, color='black', linestyle='--', label='one GPU')
    axes.invert_yaxis()
    axes.set_xlabel('GB a GPU')
    axes.legend(fontsize='small')
    figure.savefig(path, dpi=100)
