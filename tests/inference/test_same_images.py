"""A detector and a segmentor of our configurations on one image: the encoder runs once."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import cv2
import numpy as np
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from mmseg.models import SegDataPreProcessor

from tests.tuning.toys import layer_calls
from vitadapter_dense.inference.multi_task import MultiTaskModel
from vitadapter_dense.inference.predictor import Predictor, build_model
from vitadapter_dense.inference.same_images import prepare_together, same_preprocessing

CONFIGS = Path(__file__).parents[2] / 'configs/shapes'
FROZEN = {'model.backbone.encoder.frozen': True, 'model.backbone.injector': False}


def predictor(name: str, folder: Path, options: dict) -> Predictor:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.merge_from_dict({**FROZEN, **options})
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.manual_seed(0)  # the same encoder for both
    for parameter in model.backbone.encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    torch.save(model.state_dict(), folder / f'{name}.pth')
    return Predictor(cfg, folder / f'{name}.pth')


@pytest.mark.slow
def test_a_detector_and_a_segmentor_on_one_image(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    detector = predictor('mask_rcnn_vitadapter_xs', tmp_path, {})
    resize, scores = detector.steps[1], {'model.data_preprocessor.test_cfg': dict(size_divisor=32)}
    as_detector = {'test_dataloader.dataset.pipeline.1': resize}
    segmentor = predictor('upernet_vitadapter_xs', tmp_path, {**scores, **as_detector})
    predictors = dict(detect=detector, segment=segmentor)
    alone = {name: own.predict(own.prepare(tmp_path / 'a.png')) for name, own in predictors.items()}
    together = MultiTaskModel({name: own.model for name, own in predictors.items()})
    with layer_calls() as called:
        found = together.predict(prepare_together(predictors, tmp_path / 'a.png'))
    last = [own.model.backbone.encoder.blocks[-1].mlp.fc2 for own in predictors.values()]
    assert [called.count(id(layer)) for layer in last] == [1, 0]
    (boxes,), (maps,) = found['detect'], found['segment']
    assert torch.equal(boxes.pred_instances.bboxes, alone['detect'].pred_instances.bboxes)
    assert torch.equal(boxes.pred_instances.masks, alone['detect'].pred_instances.masks)
    assert torch.equal(maps.seg_logits.data, alone['segment'].seg_logits.data)
    assert maps.metainfo == alone['segment'].metainfo
    # another size in one pipeline: two images
    segmentor.steps[1] = dict(resize, scale=(96, 96))
    given = prepare_together(predictors, tmp_path / 'a.png')
    assert given['detect']['inputs'] is not given['segment']['inputs']


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        (DetDataPreprocessor(), SegDataPreProcessor(pad_val=0), True),
        (DetDataPreprocessor(pad_size_divisor=8), SegDataPreProcessor(size_divisor=8), False),
        (
            DetDataPreprocessor(pad_size_divisor=8, pad_mask=True),
            SegDataPreProcessor(test_cfg=dict(size_divisor=8)),
            True,
        ),
        (DetDataPreprocessor(), SegDataPreProcessor(test_cfg=dict(size=(8, 8))), False),
        (DetDataPreprocessor(), SegDataPreProcessor(bgr_to_rgb=True), False),
        (
            DetDataPreprocessor(mean=[1], std=[2]),
            SegDataPreProcessor(mean=[1], std=[3]),
            False,
        ),
        (DetDataPreprocessor(), ImgDataPreprocessor(), False),  # of a kind that is not known
    ],
)
def test_preprocessors_are_told_by_what_they_do_in_a_test(one, other, same):
    assert same_preprocessing(one, other) is same
    if same:
        images = dict(inputs=[torch.rand(3, 20, 30)], data_samples=[DetDataSample()])
        assert torch.equal(one(images)['inputs'], other(images)['inputs'])
