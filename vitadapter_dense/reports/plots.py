"""What is asked of the name of a plot before the work that it shows is done."""

from __future__ import annotations

from pathlib import Path

from vitadapter_dense.reports.output_files import check_outputs

SUFFIXES = ('.png', '.jpg', '.pdf', '.svg')


def check_plot(out: str | Path, *others: str | Path, command: str) -> None:
    """Makes sure that a plot, and the files written with it, can be written.

    Raises:
        ValueError: for a suffix of no picture.
        OutputError: as `check_outputs`.
    """
    if Path(out).suffix.lower() not in SUFFIXES:
        raise ValueError(f'--out must end with {", ".join(SUFFIXES)}, got {str(out)!r}.')
    check_outputs([out, *others], command=command)
