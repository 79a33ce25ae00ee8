"""Preset ResNet-50 for tuning in a segmentor, ImageNet-1k weights of torchvision.

The backbone is that of UperNet R50 in MMSegmentation (upernet_r50.py), with the plain stem that the
weights have. Its batch norms train only where the tuning method trains them.
"""

preset = dict(
    backbone=dict(
        type='TunedBackbone',
        backbone=dict(
            type='mmseg.ResNet',
            depth=50,
            dilations=(1, 1, 1, 1),
            strides=(1, 2, 2, 2),
            norm_cfg=dict(type='BN', requires_grad=True),
            norm_eval=False,
            style='pytorch',
            init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
        ),
        tuning=dict(type='FullTuning'),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
)
