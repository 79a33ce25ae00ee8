"""Mask R-CNN, ViT-Adapter-B, DeiT-B weights, 1x."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_1x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').b.detection
