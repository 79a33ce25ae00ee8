"""Mask R-CNN, LiteAdapter-B, DeiT-B weights, 3x with multi-scale training (ours)."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').b.lite_detection
