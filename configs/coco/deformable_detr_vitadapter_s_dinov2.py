"""Deformable DETR, ViT-Adapter-S, DINOv2 weights, 50 epochs (ours)."""

_base_ = [
    '../_base_/models/deformable_detr.py',
    '../_base_/encoders/dinov2.py',
    '../_base_/datasets/coco_detr_ms.py',
    '../_base_/schedules/adamw_deformable_detr_50e.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.detection
