"""Small mask heads and what they are given."""

from __future__ import annotations

import torch
from mmengine.registry import MODELS

import vitadapter_dense  # noqa: F401  (registers the heads)

CLASSES = 5
LOSSES = dict(
    loss_cls=dict(
        type='mmdet.CrossEntropyLoss', loss_weight=2.0, class_weight=[1.0] * CLASSES + [0.1]
    ),
    loss_mask=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
    loss_dice=dict(type='mmdet.DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0),
)
TRAIN = dict(
    num_points=64,
    assigner=dict(
        type='mmdet.HungarianAssigner',
        match_costs=[
            dict(type='mmdet.ClassificationCost', weight=2.0),
            dict(type='mmdet.CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
            dict(type='mmdet.DiceCost', weight=5.0, pred_act=True, eps=1.0),
        ],
    ),
)
ENCODERS = {
    'dinov3': dict(model_name='vit_small_patch16_dinov3', keep_prefix_tokens=True),
    'deit': dict(model_name='vit_tiny_patch16_224'),
    'beit': dict(model_name='beit_base_patch16_224', keep_prefix_tokens=True, img_size=64),
}


def encoder(name='dinov3', **more):
    args = dict(embed_dim=48, depth=4, num_heads=3)
    return dict(type='TimmViT', **args, **ENCODERS[name], **more)


def plain_head(in_channels=(48, 48), *, queries=6, kind='SemanticMaskHead', **decoder):
    decoder = dict(dict(num_blocks=2, num_heads=2), **decoder)
    decoder.update(type='PlainMaskDecoder', in_channels=list(in_channels))
    return build(kind, queries, decoder)


def encoder_only_head(blocks=2, *, width=48, queries=6):
    decoder = dict(type='EncoderOnlyDecoder', width=width, num_blocks=blocks)
    return build('SemanticMaskHead', queries, decoder)


def build(kind, queries, decoder):
    numbers = dict(num_classes=CLASSES)
    if kind == 'ObjectMaskHead':
        numbers = dict(num_things_classes=3, num_stuff_classes=2)
    return MODELS.build(
        dict(type=kind, num_queries=queries, decoder=decoder, train_cfg=TRAIN, **numbers, **LOSSES)
    )


def maps(batch=2, channels=(48, 48), hw=(4, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, width, *hw, generator=generator) for width in channels]


def semantic_samples(size, count=2, *, empty=False, seed=0):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(count):
        labels = torch.randint(0, CLASSES, (1, *size), generator=generator)
        labels[:, : size[0] if empty else 4] = 255
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, img_path='a.jpg'))
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return samples
