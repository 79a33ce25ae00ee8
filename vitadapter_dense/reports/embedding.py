"""Vectors of images as points of a plane, coloured by class.

t-SNE (van der Maaten and Hinton, JMLR 2008) as scikit-learn has it, which is in the extra
`analysis`, and is imported when a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitadapter_dense.reports.fonts import plot_families
from vitadapter_dense.reports.plots import plot_text

NEIGHBOURS = 5
_LEGEND = 20  # classes that have a colour of their own and stand in the legend
_PERPLEXITY = 30.0  # scikit-learn's default


def require_scikit_learn() -> None:
    """Makes sure that t-SNE can be computed.

    Raises:
        ValueError: scikit-learn is not installed; with the mend.
    """
    try:
        import sklearn.manifold  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"t-SNE needs scikit-learn ({error}). Mend: pip install '.[analysis]', or "
            '`pip install scikit-learn`.'
        ) from error


def project(vectors: np.ndarray, *, seed: int) -> np.ndarray:
    """``(N, C)`` -> ``(N, 2)``, by t-SNE from the first principal components.

    Raises:
        ValueError: less than four vectors, or scikit-learn is not installed.
    """
    require_scikit_learn()
    from sklearn.manifold import TSNE

    if len(vectors) < 4:
        raise ValueError(f'{len(vectors)} images are too few for a picture: give 4 at least')
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    init = 'pca' if vectors.shape[1] > 1 else 'random'
    return TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(vectors)


def neighbour_accuracy(vectors: np.ndarray, labels: np.ndarray, k: int = NEIGHBOURS) -> float:
    """The share of images whose class most of their k nearest other images have, by cosine.

    Of classes with equally many neighbours the nearest image's counts.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = labels[np.argsort(-likeness, axis=1, kind='stable')[:, : min(k, len(labels) - 1)]]
    votes = np.stack([(nearest == nearest[:, [n]]).sum(axis=1) for n in range(nearest.shape[1])], 1)
    return float((nearest[np.arange(len(labels)), votes.argmax(axis=1)] == labels).mean())


def embedding_figure(
    panels: Mapping[str, np.ndarray], labels: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Panels side by side, with one legend of the most frequent classes.

    Args:
        panels: points ``(N, 2)`` by their title.
        labels: of the points.
        classes: names.
    """
    figure = Figure(figsize=(5 * len(panels) + 1.5, 5), layout='constrained')
    counts = np.bincount(labels, minlength=len(classes))
    shown = np.argsort(-counts, kind='stable')[: min(_LEGEND, np.count_nonzero(counts))]
    colours = mpl.colormaps['tab10' if len(shown) <= 10 else 'tab20'].colors
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, points) in zip(grid, panels.items(), strict=True):
        _draw(axes, points, labels, shown, colours)
        axes.set_title(title, fontsize=10)
    handles, _ = axes.get_legend_handles_labels()
    texts = [f'{plot_text(classes[label])} ({counts[label]})' for label in shown]
    legend = figure.legend(handles[: len(shown)], texts, loc='outside right upper', fontsize=8)
    for text in legend.get_texts():
        text.set(fontfamily=plot_families(texts), parse_math=False)
    if others := len(labels) - counts[shown].sum():
        figure.supxlabel(f'grey: {others} images of other classes', fontsize=8)
    return figure


def _draw(
    axes: Axes,
    points: np.ndarray,
    labels: np.ndarray,
    shown: np.ndarray,
    colours: Sequence[tuple[float, ...]],
) -> None:
    size = float(np.clip(4000 / len(points), 4, 40))
    for label, colour in zip(shown, colours):
        own = labels == label
        axes.scatter(*points[own].T, s=size, color=colour, linewidths=0, label=str(label))
    other = ~np.isin(labels, shown)
    axes.scatter(*points[other].T, s=size, color='0.8', linewidths=0, zorder=0)
    axes.set(xticks=[], yticks=[])
