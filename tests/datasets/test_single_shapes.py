"""Single generated shapes: 25 classes, the same pictures every time."""

from __future__ import annotations

import numpy as np
import pytest

from vitadapter_dense.datasets import SINGLE_SHAPES, DatasetError, SingleShapes


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
