"""The segmentation configs' models at a size for tests, and batches for them."""

from __future__ import annotations

import torch
from mmengine.registry import MODELS, init_default_scope


def small_segmentor(cfg, size=64):
    """The configuration's segmentor with a toy backbone and narrow heads, of 5 classes."""
    init_default_scope(cfg.default_scope)
    model = cfg.model
    model.backbone.encoder.update(
        pretrained=False, embed_dim=96, depth=4, num_heads=3, drop_path_rate=0.0, with_cp=False
    )
    if 'out_indices' in model.backbone:
        model.backbone.out_indices = [0, 1, 2, 3][-len(model.backbone.out_indices) :]
    model.data_preprocessor.size = (size, size)
    model.test_cfg.update(crop_size=(size, size), stride=(size * 2 // 3,) * 2)
    head = model.decode_head
    head.num_classes = 5
    if head.type == 'SemanticMaskHead':
        shrink_mask_head(model.backbone, head)
        head.train_cfg.num_points = 64
        head.loss_cls.class_weight = [1.0] * 5 + [0.1]
        return MODELS.build(model)
    head.in_channels = [96] * 4
    if head.type == 'Mask2FormerHead':
        head.loss_cls.class_weight = [1.0] * 5 + [0.1]
        head.num_queries = 8
        head.train_cfg.num_points = 64
        head.transformer_decoder.num_layers = 3
    else:
        head.channels = 16
        model.auxiliary_head.update(in_channels=96, channels=16, num_classes=5)
    return MODELS.build(model)


def shrink_mask_head(backbone, head):
    """PMT's or EoMT's parts for an encoder of 96 channels and 4 blocks."""
    head.num_queries = 8
    if head.decoder.type == 'PlainMaskDecoder':
        backbone.out_indices = [0, 1, 2, 3]
        head.decoder.update(in_channels=[96] * 4, num_blocks=2, num_heads=2)
    else:
        backbone.open_blocks = 2
        head.decoder.update(width=96, num_blocks=2)


def batch(size, count=2, seed=0):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(seed)
    height, width = size
    samples, images = [], []
    for _ in range(count):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, img_path='a.jpg'))
        labels = torch.randint(0, 5, (1, height, width), generator=generator)
        labels[:, :4] = 255
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
        images.append(
            torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        )
    return dict(inputs=images, data_samples=samples)
