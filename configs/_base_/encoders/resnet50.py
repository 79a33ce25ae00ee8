"""ResNet-50 for tuning, ImageNet-1k weights of torchvision; no sizes: `presets.detection`.

In detection the backbone is that of MMDetection's R50-FPN models. Its `frozen_stages` is not set
here: the tuning method says what trains. In segmentation it is that of UperNet R50 in
MMSegmentation (upernet_r50.py), with the plain stem that the weights have; its batch norms train
only where the tuning method trains them.
"""

resnet = dict(
    depth=50,
    norm_cfg=dict(type='BN', requires_grad=True),
    style='pytorch',
    init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
)
presets = dict(
    detection=dict(
        backbone=dict(
            type='TunedBackbone',
            backbone=dict(type='mmdet.ResNet', norm_eval=True, **resnet),
            tuning=dict(type='FullTuning'),
        ),
        neck=dict(in_channels=[256, 512, 1024, 2048]),
    ),
    segmentation=dict(
        backbone=dict(
            type='TunedBackbone',
            backbone=dict(
                type='mmseg.ResNet',
                dilations=(1, 1, 1, 1),
                strides=(1, 2, 2, 2),
                norm_eval=False,
                **resnet,
            ),
            tuning=dict(type='FullTuning'),
        ),
        decode_head=dict(in_channels=[256, 512, 1024, 2048]),
        auxiliary_head=dict(in_channels=1024),
    ),
)
del resnet
