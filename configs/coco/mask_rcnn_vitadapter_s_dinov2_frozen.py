"""Mask R-CNN, ViT-Adapter-S over a frozen DINOv2 encoder, 3x (ours, no published number)."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/dinov2.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.frozen_detection
