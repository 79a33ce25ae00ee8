"""A small HTC++ with ViT-Adapter on the generated shapes (ours)."""

_base_ = [
    '../_base_/models/htc_pp_fpn.py',
    '../_base_/encoders/shapes_xs.py',
    '../_base_/datasets/shapes_stuff_instance.py',
    '../_base_/schedules/adamw_detectors_xs.py',
    '../_base_/runtime/detection_iterations.py',
]

width = 64  # of FPN and heads; 256 in the COCO configs
norm_cfg = dict(type='BN', requires_grad=True)
box_heads = _base_.model.roi_head.bbox_head
for head in box_heads:
    head.update(
        type='ConvFCBBoxHead',
        num_shared_convs=2,
        num_shared_fcs=1,
        num_classes=5,
        in_channels=width,
        conv_out_channels=width,
        fc_out_channels=256,
        norm_cfg=norm_cfg,
    )
mask_heads = _base_.model.roi_head.mask_head
for head in mask_heads:
    head.update(
        num_classes=5,
        num_convs=2,
        in_channels=width,
        conv_out_channels=width,
        class_agnostic=True,
        norm_cfg=norm_cfg,
    )
stages = _base_.model.train_cfg.rcnn
for stage in stages:
    stage.sampler.update(num=32, pos_fraction=0.375)

model = dict(
    backbone=_base_.pop('backbone'),
    neck=[
        dict(type='ExtraAttention', in_channels=[96] * 4, num_heads=3),
        dict(type='FPN', in_channels=[96] * 4, out_channels=width, num_outs=4, norm_cfg=norm_cfg),
    ],
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        # anchors of 12, 24, 48 and 96 pixels
        anchor_generator=dict(scales=[3], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        # every object from the finest map, as in the quick start
        bbox_roi_extractor=dict(out_channels=width, featmap_strides=[4]),
        bbox_head=box_heads,
        mask_roi_extractor=dict(out_channels=width, featmap_strides=[4]),
        mask_head=mask_heads,
        semantic_roi_extractor=dict(out_channels=width),
        semantic_head=dict(
            num_ins=4,
            num_convs=2,
            num_classes=6,  # background and five shapes
            in_channels=width,
            conv_out_channels=width,
            norm_cfg=norm_cfg,
        ),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=100), rcnn=stages),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=50)),
)
del box_heads, mask_heads, stages, head, stage

default_hooks = dict(checkpoint=dict(interval=500, save_best='coco/bbox_mAP'))
