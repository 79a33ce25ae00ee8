"""Preset ResNet-50 for tuning in a detector, ImageNet-1k weights of torchvision.

The backbone is that of MMDetection's R50-FPN models. Its `frozen_stages` is not set here: the
tuning method says what trains.
"""

preset = dict(
    backbone=dict(
        type='TunedBackbone',
        backbone=dict(
            type='mmdet.ResNet',
            depth=50,
            norm_cfg=dict(type='BN', requires_grad=True),
            norm_eval=True,
            style='pytorch',
            init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
        ),
        tuning=dict(type='FullTuning'),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
