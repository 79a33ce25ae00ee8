"""A label beyond the classes ends a run with its name."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip('mmseg')

from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from vitadapter_dense.datasets import DatasetError
from vitadapter_dense.training.check_labels import check_labels, check_queries

META = dict(classes=('ground', 'dark', 'light'))


def _batch(*values: int) -> dict:
    sample = SegDataSample(metainfo=dict(seg_map_path='maps/7.png', img_path='images/7.jpg'))
    sample.gt_sem_seg = PixelData(data=torch.tensor([[values]]))
    return dict(inputs=[], data_samples=[sample])


def test_labels_beyond_the_classes_are_counted() -> None:
    check_labels(_batch(0, 2, 255), META)
    with pytest.raises(
        DatasetError, match=r'maps/7\.png .*no class: 3 \(2 pixels\), 9 \(1 pix'
    ) as e:
        check_labels(_batch(0, 3, 3, 9), META)
    assert 'may hold 0 to 2; 255 is ignored' in str(e.value)
    assert 'reduce_zero_label=True' in str(e.value)


def test_values_are_those_of_the_file_and_views_are_looked_into() -> None:
    views = dict(data_samples=[_batch(0)['data_samples'], _batch(3)['data_samples']])
    with pytest.raises(DatasetError, match=r'no class: 4 \(1 pixels\).* hold 1 to 3; 0 and 255'):
        check_labels(views, dict(META, reduce_zero_label=True))


def test_an_image_of_more_classes_than_queries_is_named() -> None:
    check_queries(_batch(0, 2, 2, 255), META, 2)
    check_queries(_batch(0, 1, 2), META, None)
    with pytest.raises(DatasetError, match=r'images/7\.jpg has 3 classes.*num_queries is 2.*=3'):
        check_queries(_batch(0, 1, 2, 255), META, 2)
