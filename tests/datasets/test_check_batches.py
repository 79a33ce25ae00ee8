"""Batches that MMSegmentation cannot evaluate are told before training, and no others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('mmseg')

from mmengine.registry import DATASETS, MODELS, init_default_scope

import vitadapter_dense  # noqa: F401  (registers)
from vitadapter_dense.datasets import DatasetError, check_config_datasets
from vitadapter_dense.datasets.check_batches import find_batch_problems

FIXED = dict(type='Resize', scale=(32, 24), keep_ratio=False)
FREE = dict(type='Resize', scale=(32, 24), keep_ratio=True)
PREPROCESSOR = dict(type='SegDataPreProcessor', mean=[0.0] * 3, std=[1.0] * 3, size=(24, 32))


def _config(root, sizes, *steps, batch=2, test_cfg=None) -> dict:
    """A config whose images have these widths and heights."""
    for kind, suffix in (('images', 'jpg'), ('maps', 'png')):
        (root / kind).mkdir()
        for number, (width, height) in enumerate(sizes):
            shape = (height, width, 3) if kind == 'images' else (height, width)
            cv2.imwrite(str(root / kind / f'{number}.{suffix}'), np.zeros(shape, np.uint8))
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='maps'),
        metainfo=dict(classes=('a', 'b'), palette=[(0, 0, 0), (255, 0, 0)]),
        pipeline=[dict(type='LoadImageChecked'), *steps, dict(type='PackSegInputs')],
    )
    preprocessor = dict(PREPROCESSOR, test_cfg=test_cfg)
    return dict(
        model=dict(type='EncoderDecoder', data_preprocessor=preprocessor),
        val_dataloader=dict(batch_size=batch, dataset=dataset),
    )


def _stops(cfg: dict) -> bool:
    """Whether MMSegmentation stops at the batch of all images."""
    init_default_scope('mmseg')
    options = dict(test_mode=True, serialize_data=False)
    dataset = DATASETS.build(dict(cfg['val_dataloader']['dataset'], **options))
    items = [dataset[index] for index in range(len(dataset))]
    batch = {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}
    try:
        MODELS.build(cfg['model']['data_preprocessor'])(batch)
    except AssertionError as error:
        return 'image size in a batch' in str(error)
    return False


@pytest.mark.parametrize(
    ('sizes', 'step', 'test_cfg'),
    [
        ([(40, 30), (40, 30)], FREE, None),
        ([(40, 30), (80, 60)], FREE, None),  # of one ratio
        ([(40, 30), (36, 30)], FREE, None),
        ([(40, 30), (36, 30)], FREE, dict(size_divisor=32)),
        ([(40, 30), (36, 30)], FIXED, None),
        ([(40, 30), (30, 40), (40, 30)], FREE, None),
    ],
)
def test_said_exactly_where_mmsegmentation_stops(tmp_path, sizes, step, test_cfg):
    cfg = _config(tmp_path, sizes, step, test_cfg=test_cfg)
    if not _stops(cfg):
        assert check_config_datasets(cfg, loaders=('val',)) == []
        return
    with pytest.raises(DatasetError, match=r'val_dataloader.batch_size is 2.*several sizes .*0\.j'):
        check_config_datasets(cfg, loaders=('val',))
    cfg['val_dataloader']['batch_size'] = 1  # the mend
    assert check_config_datasets(cfg, loaders=('val',)) == []


def test_views_of_test_time_augmentation_are_compared(tmp_path):
    views = [[FREE, dict(FREE, scale=(64, 48))], [dict(type='RandomFlip', prob=0.0)]]
    cfg = _config(tmp_path, [(40, 30), (36, 30)])
    augmentation = dict(type='TestTimeAug', transforms=[*views, [dict(type='PackSegInputs')]])
    cfg['val_dataloader']['dataset']['pipeline'][1:] = [augmentation]
    leaves = dict(val=[cfg['val_dataloader']['dataset']])
    (problem,) = find_batch_problems(cfg, leaves)
    assert '32 x 24 and 64 x 48' in problem
    cfg['model']['data_preprocessor']['type'] = 'DetDataPreprocessor'  # pads by itself
    assert find_batch_problems(cfg, leaves) == []


def test_padding_in_the_pipeline_is_refused(tmp_path):
    """Its share of the prediction would be stretched over the image."""
    cfg = _config(tmp_path, [(40, 30)], FREE, dict(type='Pad', size=(40, 40)), batch=1)
    with pytest.raises(DatasetError, match='pipeline pads images.*Mend: take Pad out'):
        check_config_datasets(cfg, loaders=('val',))
