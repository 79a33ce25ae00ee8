"""What all plots have in common: what is asked of their names, and how they write class names."""

from __future__ import annotations

from pathlib import Path

from vitadapter_dense.reports.output_files import check_outputs

SUFFIXES = ('.png', '.jpg', '.pdf', '.svg')

LONGEST_NAME = 32  # letters of a class name


def plot_text(name: str) -> str:
    """A class name as a plot writes it: cut where it is long, without lines of its own."""
    flat = ' '.join(name.split())
    return flat if len(flat) <= LONGEST_NAME else f'{flat[: LONGEST_NAME - 1]}…'


def check_plot(out: str | Path, *others: str | Path, command: str) -> None:
    """Makes sure that a plot, and the files written with it, can be written.

    Raises:
        ValueError: for a suffix of no picture.
        OutputError: as `check_outputs`.
    """
    if Path(out).suffix.lower() not in SUFFIXES:
        raise ValueError(f'--out must end with {", ".join(SUFFIXES)}, got {str(out)!r}.')
    check_outputs([out, *others], command=command)
