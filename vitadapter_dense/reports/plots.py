"""What all plots have in common: what is asked of their names, and how they write class names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axis import Axis

from vitadapter_dense.reports.fonts import plot_families
from vitadapter_dense.reports.output_files import check_outputs

SUFFIXES = ('.png', '.jpg', '.pdf', '.svg')

LONGEST_NAME = 32  # letters of a class name


def plot_text(name: str) -> str:
    """A class name as a plot writes it: cut where it is long, without lines of its own."""
    flat = ' '.join(name.split())
    return flat if len(flat) <= LONGEST_NAME else f'{flat[: LONGEST_NAME - 1]}…'


def name_ticks(
    axis: Axis, places: Sequence[float], names: Sequence[str], *, fontsize: float | None = None
) -> None:
    """Writes class names along an axis, in fonts that have their letters."""
    texts = [plot_text(name) for name in names]
    families = plot_families(texts)
    axis.set_ticks(places, texts, fontsize=fontsize, fontfamily=families, parse_math=False)


def check_plot(out: str | Path, *others: str | Path, command: str) -> None:
    """Makes sure that a plot, and the files written with it, can be written.

    Raises:
        ValueError: for a suffix of no picture.
        OutputError: as `check_outputs`.
    """
    if Path(out).suffix.lower() not in SUFFIXES:
        raise ValueError(f'--out must end with {", ".join(SUFFIXES)}, got {str(out)!r}.')
    check_outputs([out, *others], command=command)
