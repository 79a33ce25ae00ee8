"""Every detector of the configurations trains and predicts, with a small backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs the compiled ops of mmcv')

from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

SIZE = 64
WIDTH = 96
NAMES = ['mask_rcnn_vitadapter_s', 'mask_rcnn_vit_s', 'cascade_mask_rcnn_vitadapter_s']
NAMES += ['htc_vitadapter_s', 'mask_rcnn_liteadapter_s_dinov3_frozen']
ABLATION = ['mask_rcnn_vitprior_s_inject_1x', 'mask_rcnn_vitadapter_s_cswin_1x']
CONFIGS = [f'coco/{name}' for name in NAMES] + [f'coco_ablation/{name}' for name in ABLATION]


def small_detector(cfg):
    """The configuration's detector with a toy backbone and few proposals."""
    init_default_scope(cfg.default_scope)
    model = cfg.model
    model.backbone.encoder.update(
        pretrained=False, embed_dim=WIDTH, depth=4, num_heads=3, window_sizes=[4, None] * 2
    )
    if 'out_indices' in model.backbone:
        model.backbone.out_indices = [0, 1, 2, 3][-len(model.backbone.out_indices) :]
    model.neck.in_channels = [WIDTH] * 4
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        head.fc_out_channels = 64
    model.train_cfg.rpn_proposal.max_per_img = 24
    stages = model.train_cfg.rcnn
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 8
    model.test_cfg.rpn.max_per_img = 8
    model.test_cfg.rcnn.score_thr = 0.0
    model.test_cfg.rcnn.max_per_img = 4
    return MODELS.build(model)


def batch(count=2):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[0, 16:48, 24:56] = 1
    samples = []
    for _ in range(count):
        shape = (SIZE, SIZE)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[24.0, 16.0, 56.0, 48.0]]),
            labels=torch.tensor([7]),
            masks=BitmapMasks(mask, SIZE, SIZE),
        )
        samples.append(sample)
    images = [torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8) for _ in range(count)]
    return dict(inputs=images, data_samples=samples)


@pytest.mark.parametrize('name', CONFIGS)
def test_detector_trains_and_predicts(name, read_config):
    model = small_detector(read_config(f'{name}.py')).train()
    data = model.data_preprocessor(batch(), training=True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    trained = [(key, value) for key, value in model.named_parameters() if value.requires_grad]
    without = [key for key, value in trained if value.grad is None]
    assert not without

    model.eval()
    with torch.no_grad():
        (prediction,) = model.test_step(batch(1))
    instances = prediction.pred_instances
    assert 0 < len(instances) <= 4
    assert instances.masks.shape == (len(instances), SIZE, SIZE)
    assert (instances.bboxes >= 0).all()
    assert (instances.bboxes <= SIZE).all()
