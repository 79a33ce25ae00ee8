"""Quick start: a small ViT-Adapter Mask R-CNN on the generated shapes, from random weights.

Made for two CPU cores and a quarter of an hour (`docs/results.md`). Mask R-CNN is the COCO
configs' own, with narrower heads.
"""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/shapes_xs.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/adamw_cosine_xs.py',
    '../_base_/runtime/detection.py',
]

width = 64  # of FPN and heads; 256 in the COCO configs
norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    backbone=_base_.pop('backbone'),
    neck=dict(in_channels=[96] * 4, out_channels=width, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        # anchors of 12, 24, 48 and 96 pixels
        anchor_generator=dict(scales=[3], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        # every object from the finest map: the few large ones alone do not train a map of their own
        bbox_roi_extractor=dict(out_channels=width, featmap_strides=[4]),
        bbox_head=dict(
            _delete_=True,
            type='ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            in_channels=width,
            conv_out_channels=width,
            fc_out_channels=256,
            num_classes=5,
            norm_cfg=norm_cfg,
            reg_class_agnostic=True,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0, 0.0, 0.0, 0.0],
                target_stds=[0.1, 0.1, 0.2, 0.2],
            ),
            # twice the usual weight: telling the classes apart is what comes last
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
        mask_roi_extractor=dict(out_channels=width, featmap_strides=[4]),
        mask_head=dict(
            num_convs=2,
            in_channels=width,
            conv_out_channels=width,
            num_classes=5,
            class_agnostic=True,
            norm_cfg=norm_cfg,
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.375)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=50)),
)

train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=600)
)
log_processor = dict(by_epoch=False)
