"""Vectors as points of a plane, coloured by class."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from vitadapter_dense.reports.embedding import embedding_figure, neighbour_accuracy, project


def clusters(count: int, classes: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = np.eye(max(8, classes))[:classes]
    return centres[labels] + generator.normal(0, spread, (count, centres.shape[1])), labels


def test_neighbours_tell_how_well_classes_are_apart() -> None:
    assert neighbour_accuracy(*clusters(30, 3, 0.01)) == 1
    vectors, labels = clusters(300, 3, 0.01)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert neighbour_accuracy(vectors, shuffled) < 0.5
    # of the nearest three two are of class 1, whose nearest is farther than the one of class 0
    line = np.array([[1, 0], [1, 0.01], [1, 0.03], [1, 0.04]])
    assert neighbour_accuracy(line, np.array([0, 0, 1, 1]), k=3) == 0
    assert neighbour_accuracy(line, np.array([0, 0, 1, 1]), k=1) == 1


def test_figure_names_frequent_classes_and_counts_the_others() -> None:
    labels = np.array([0] * 9 + [1] * 5 + list(range(2, 30)))
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    names = ['$a_b$', *(f'class {n}' for n in range(1, 30))]
    figure = embedding_figure(dict(before=points, after=points), labels, names)
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:2] == ['$a_b$ (9)', 'class 1 (5)']
    assert len(texts) == 20
    assert figure.get_supxlabel() == 'grey: 10 images of other classes'
    assert [axes.get_title() for axes in figure.axes] == ['before', 'after']


def test_points_of_a_class_lie_together() -> None:
    pytest.importorskip('sklearn', reason='needs scikit-learn (analysis)')
    vectors, labels = clusters(40, 2, 0.05)
    points = project(vectors, seed=0)
    assert points.shape == (40, 2)
    assert np.array_equal(points, project(vectors, seed=0))
    assert neighbour_accuracy(points - points.mean(axis=0), labels) > 0.9
    assert project(vectors[:4], seed=0).shape == (4, 2)
    with pytest.raises(ValueError, match='3 images are too few'):
        project(vectors[:3], seed=0)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'sklearn.manifold', None)
    with pytest.raises(ValueError, match=r"Mend: pip install '\.\[analysis\]'"):
        project(np.zeros((9, 2)), seed=0)
