"""A small ATSS with ViT-Adapter on the generated shapes (ours)."""

_base_ = [
    '../_base_/models/atss_fpn.py',
    '../_base_/encoders/shapes_xs.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/adamw_detectors_xs.py',
    '../_base_/runtime/detection_iterations.py',
]

width = 64  # of FPN and head; 256 in the COCO configs

model = dict(
    backbone=_base_.pop('backbone'),
    # from stride 4 on: the shapes are small
    neck=dict(in_channels=[96] * 4, out_channels=width, start_level=0, num_outs=4),
    bbox_head=dict(
        num_classes=5,
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        # anchors of 16, 32, 64 and 128 pixels
        anchor_generator=dict(octave_base_scale=4, strides=[4, 8, 16, 32]),
    ),
    test_cfg=dict(nms_pre=200, max_per_img=50),
)
find_unused_parameters = False

default_hooks = dict(checkpoint=dict(interval=500, save_best='coco/bbox_mAP'))
