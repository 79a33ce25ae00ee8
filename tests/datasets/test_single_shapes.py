"""Single generated shapes: 25 classes, the same pictures every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from vitadapter_dense.datasets import SINGLE_SHAPES, DatasetError, SingleShapes, single_shapes


def test_pictures_come_from_seed_class_and_number_alone() -> None:
    assert len(set(SINGLE_SHAPES)) == 25
    options = dict(per_class=2, size=32, pipeline=[dict(type='DrawShape')])
    whole = SingleShapes(**options)
    names = ('star-dots', 'circle-rings')
    some, other = (SingleShapes(classes=names, seed=seed, **options) for seed in (0, 1))
    assert some.get_gt_labels().tolist() == [0, 1, 0, 1]
    image = some[3]['img']
    assert image.shape == (32, 32, 3)
    assert (image == whole[25 + SINGLE_SHAPES.index('circle-rings')]['img']).all()
    different = [some[1], some[2], other[3]]
    assert all(np.abs(image.astype(int) - one['img']).mean() > 5 for one in different)
    with pytest.raises(DatasetError, match="'star-dot' is no single shape"):
        SingleShapes(1, classes=['star-dot'])


def test_variety_is_how_much_pictures_of_a_class_differ() -> None:
    def turns(variety: float) -> float:
        """How far the directions of stripes lie apart, 0 to 1, by their gradients."""
        found = []
        for sample in _pictures(20, ['circle-stripes'], variety=variety):
            grey = sample['img'].astype(float).mean(axis=2)[20:44, 20:44]
            gy, gx = np.gradient(grey)
            tensor = (gx + 1j * gy) ** 2  # a direction and its opposite are one
            found.append(tensor.sum() / abs(tensor.sum()))
        return 1 - abs(np.mean(found))

    assert turns(0.0) < 0.05 < 0.1 < turns(0.25)
    as_ever = SingleShapes(2, pipeline=[dict(type='DrawShape')])
    assert (as_ever[3]['img'] == list(_pictures(2, variety=1.0))[3]['img']).all()
    for variety in (-0.1, 1.5):
        with pytest.raises(DatasetError, match=f'variety={variety}'):
            SingleShapes(1, variety=variety)


def test_pictures_that_are_kept_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SingleShapes(1, pipeline=[dict(type='DrawShape')])
    kept = SingleShapes(1, pipeline=[dict(type='DrawShape', keep=True)])
    kept[2]['img'][:] = 0  # what a transform does to it stays with that sample
    drawn = plain[2]['img']
    monkeypatch.setattr(single_shapes, 'render_single', None)
    assert (kept[2]['img'] == drawn).all()
    with pytest.raises(TypeError):
        plain[2]


def _pictures(per_class: int, classes: Sequence[str] = SINGLE_SHAPES, **options: float) -> Iterator:
    pipeline = [dict(type='DrawShape')]
    return iter(SingleShapes(per_class, classes=classes, pipeline=pipeline, **options))
