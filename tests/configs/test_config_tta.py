"""Test-time augmentation of the segmentation configs: its views, and how they are merged."""

from __future__ import annotations

from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs mmcv')

from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from small_segmentors import small_segmentor

# shorter sides; the first of ADE20K counts three times, see configs/_base_/datasets
VIEWS = {
    'ade20k/upernet_vitadapter_s': [512, 512, 512, 640, 768, 896],
    'coco_stuff164k/mask2former_vitadapter_l': [640, 768, 896],
    'cityscapes/mask2former_vitadapter_l': [896, 896, 1024, 1280, 1536, 1792, 2048],
    'shapes/upernet_vitadapter_xs': [160, 192, 224],
}


@pytest.fixture
def files(tmp_path) -> dict:
    """What a data set lists of an image of 50 x 70 and its map."""
    generator = np.random.default_rng(0)
    image, labels = str(tmp_path / 'a.jpg'), str(tmp_path / 'a.png')
    cv2.imwrite(image, generator.integers(0, 256, (50, 70, 3), dtype=np.uint8))
    cv2.imwrite(labels, generator.integers(0, 6, (50, 70), dtype=np.uint8))
    return dict(img_path=image, seg_map_path=labels, reduce_zero_label=True, seg_fields=[])


@pytest.mark.parametrize('name', VIEWS)
def test_views_have_the_configured_sizes_each_flipped_too(name, read_config, files):
    cfg = read_config(f'{name}.py')
    init_default_scope('mmseg')
    samples = Compose(cfg.tta_pipeline)(files)['data_samples']
    found = sorted((min(sample.img_shape), sample.flip) for sample in samples)
    assert found == sorted((side, flip) for side in VIEWS[name] for flip in (False, True))
    assert all(sample.gt_sem_seg.data.shape == (1, 50, 70) for sample in samples)
    if '164k' in name:  # sizes as in the original
        assert all(side % 32 == 0 for sample in samples for side in sample.img_shape)


def predict(model, pipeline, files):
    return model.test_step(pseudo_collate([Compose(pipeline)(deepcopy(files))]))[0]


@pytest.mark.parametrize('name', ['upernet_vitadapter_s', 'mask2former_vitadapter_b'])
def test_one_view_is_none_and_two_are_their_mean(name, read_config, files):
    cfg = read_config(f'ade20k/{name}.py')
    model = small_segmentor(cfg).eval()
    tta = MODELS.build(dict(cfg.tta_model, module=model)).eval()
    plain, augmented = list(cfg.test_dataloader.dataset.pipeline), cfg.tta_pipeline
    plain[1] = dict(plain[1], scale=(160, 64))
    transforms = augmented[1].transforms
    transforms[0], flips = [plain[1]], transforms[1]
    transforms.insert(1, [plain[2]])
    with torch.no_grad():
        expected = predict(model, plain, files)
        transforms[2] = flips[:1]
        alone = predict(tta, augmented, files)
        turn = dict(type='RandomFlip', prob=1.0)
        flipped = predict(model, [*plain[:3], turn, *plain[3:]], files)
        transforms[2] = flips
        both = predict(tta, augmented, files)
    assert torch.equal(alone.pred_sem_seg.data, expected.pred_sem_seg.data)
    assert torch.equal(both.gt_sem_seg.data, expected.gt_sem_seg.data)
    logits = (expected.seg_logits.data, flipped.seg_logits.data)
    assert not torch.allclose(*logits)
    merged = sum(view.softmax(0) for view in logits).argmax(0)
    assert torch.equal(both.pred_sem_seg.data[0], merged)
