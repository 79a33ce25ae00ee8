"""Mask R-CNN, plain ViT-S, DeiT-S weights, 1x: the baseline of ViT-Adapter's table 6, N = 0."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_1x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.baseline_detection
