"""How a cost grows with a size: a polynomial is fitted, and what it leaves is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure


class Law(NamedTuple):
    """``value = sum(coefficient * size ** power)``, fitted to what was measured.

    Attributes:
        coefficients: one of each power from 0 on.
        residuals: measured against fitted, relative, one a point.
        largest: the last point against what the others foretell of it, relative; None where they
            are too few to say so.
    """

    coefficients: tuple[float, ...]
    residuals: tuple[float, ...]
    largest: float | None

    def at(self, size: float) -> float:
        """The law's value."""
        return sum(c * size**power for power, c in enumerate(self.coefficients))

    def __str__(self) -> str:
        signs = ('', ' N', ' N²')
        return ' + '.join(f'{c:.3g}{sign}' for c, sign in zip(self.coefficients, signs))


def fit_law(sizes: Sequence[float], values: Sequence[float], *, degree: int) -> Law:
    """Least squares of relative residuals, so that small sizes count as much as large ones.

    Args:
        sizes: in rising order, more than `degree`.
        values: what was measured, above zero.
        degree: 1 where the cost is linear, 2 where it is quadratic.

    Raises:
        ValueError: too few points for the law.
    """
    if len(sizes) <= degree:
        raise ValueError(f'{len(sizes)} points are too few for a law of degree {degree}')

    def solve(count: int) -> np.ndarray:
        powers = np.vander(np.asarray(sizes[:count], float), degree + 1, increasing=True)
        scaled = powers / np.asarray(values[:count], float)[:, None]
        of_columns = np.linalg.norm(scaled, axis=0)  # pixels squared beside a constant
        return np.linalg.lstsq(scaled / of_columns, np.ones(count))[0] / of_columns

    def compare(coefficients: np.ndarray) -> np.ndarray:
        return np.asarray(values) / np.polynomial.polynomial.polyval(sizes, coefficients) - 1

    whole = solve(len(sizes))
    largest = compare(solve(len(sizes) - 1))[-1] if len(sizes) > degree + 1 else None
    return Law(
        tuple(whole.tolist()),
        tuple(compare(whole).tolist()),
        None if largest is None else float(largest),
    )


def draw_laws(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Law]],
    path: str | Path,
    *,
    size: str,
    value: str,
) -> None:
    """Draws what was measured with its laws, and below what the laws leave, in percent.

    Args:
        curves: sizes, values and law by name.
        path: of the picture.
        size, value: names of the axes.
    """
    figure = Figure(figsize=(7.5, 6), layout='constrained')
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for number, (name, (sizes, values, law)) in enumerate(curves.items()):
        colour = f'C{number}'
        fine = np.geomspace(min(sizes), max(sizes), 100)
        above.plot(fine, [law.at(each) for each in fine], color=colour, linewidth=1)
        above.plot(sizes, values, 'o', color=colour, label=name)
        below.plot(sizes, [100 * each for each in law.residuals], 'o-', color=colour, linewidth=0.7)
    above.set(xscale='log', yscale='log', ylabel=value)
    figure.legend(loc='outside upper center', ncols=4, fontsize='small')
    below.axhline(0, color='black', linewidth=0.7)
    below.set(xlabel=size, ylabel='residual, %')
    for axes in (above, below):
        axes.grid(alpha=0.3, which='both')
    figure.savefig(path, dpi=100)
