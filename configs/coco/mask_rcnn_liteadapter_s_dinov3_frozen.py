"""Mask R-CNN, LiteAdapter-S over a frozen DINOv3 encoder, 3x with multi-scale training (ours)."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/dinov3.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.lite_detection
model.backbone.encoder.frozen = True
