"""DINO with five levels, ViT-Adapter-S, DeiT-S weights, 12 epochs (ours)."""

_base_ = [
    '../_base_/models/dino_5scale.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_detr_ms.py',
    '../_base_/schedules/adamw_dino_12e.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.detection
