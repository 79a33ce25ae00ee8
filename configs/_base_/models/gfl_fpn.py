"""Generalized Focal Loss (https://arxiv.org/abs/2006.04388) with FPN from stride 8 on.

What differs from ATSS is written here, the rest comes from its file. Source: ViT-Adapter,
detection/configs/gfl/gfl_deit_adapter_small_fpn_3x_coco.py, whose numbers are those of GFL R50-FPN
in MMDetection.
"""

_base_ = './atss_fpn.py'

model = dict(
    type='GFL',
    bbox_head=dict(
        _delete_=True,
        type='GFLHead',
        num_classes=80,
        in_channels=256,
        stacked_convs=4,
        feat_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.0],
            octave_base_scale=8,
            scales_per_octave=1,
            strides=[8, 16, 32, 64, 128],
        ),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type='DistributionFocalLoss', loss_weight=0.25),
        reg_max=16,
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
    ),
)
