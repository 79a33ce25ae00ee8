"""DINO with four levels, ViT-Adapter-L, DINOv3 weights, 12 epochs (ours)."""

_base_ = [
    '../_base_/models/dino_4scale.py',
    '../_base_/encoders/dinov3.py',
    '../_base_/datasets/coco_detr_ms.py',
    '../_base_/schedules/adamw_dino_12e.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').l.detection
