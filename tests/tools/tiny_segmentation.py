"""A tiny segmentation task for the tools: a few images of coloured boxes and their label maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ('ground', 'dark', 'light')

CONFIG = """
_base_ = ['{root}/configs/_base_/runtime/segmentation.py']
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
log_processor = dict(window_size=1)
data_root = '/no/such/data/'
metainfo = dict(classes={classes}, palette=[[120, 120, 120], [220, 20, 60], [0, 90, 200]])
norm_cfg = dict(type='BN')
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(64, 64),
    ),
    backbone=dict(
        type='ViTAdapter',
        encoder=dict(
            type='TimmViT',
            model_name='deit_tiny_patch16_224',
            pretrained=False,
            embed_dim=32,
            depth=4,
            num_heads=2,
        ),
        conv_inplane=8,
        deform_num_heads=2,
        vit_feature='per_stage',
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=32,
        in_index=0,
        channels=16,
        num_convs=1,
        num_classes=3,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    test_cfg=dict(mode='whole'),
)
train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotationsChecked'),
    dict(type='RandomCrop', crop_size=(64, 64)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='Resize', scale=(80, 64), keep_ratio=True),
    dict(type='LoadAnnotationsChecked'),
    dict(
        type='PackSegInputs',
        meta_keys=('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    data_prefix=dict(img_path='images', seg_map_path='maps'),
    metainfo=metainfo,
    img_suffix='.jpg',
    seg_map_suffix='.png',
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
"""


def write_images(root: Path, count: int) -> None:
    """Writes `count` JPEGs of 64 x 80 and label maps: 0 ground, 1 a dark box, 2 a light box."""
    generator = np.random.default_rng(0)
    (root / 'images').mkdir(parents=True)
    (root / 'maps').mkdir()
    for index in range(count):
        image = generator.integers(90, 160, (64, 80, 3), dtype=np.uint8)
        labels = np.zeros((64, 80), np.uint8)
        for label, value in ((1, 20), (2, 235)):
            x, y = (int(start) for start in generator.integers(2, 40, 2))
            image[y : y + 20, x : x + 24] = value
            labels[y : y + 20, x : x + 24] = label
        cv2.imwrite(str(root / 'images' / f'{index}.jpg'), image)
        cv2.imwrite(str(root / 'maps' / f'{index}.png'), labels)
