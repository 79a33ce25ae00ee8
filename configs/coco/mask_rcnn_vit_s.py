"""Mask R-CNN, plain ViT-S (no adapter), DeiT-S weights, 3x with multi-scale training."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/models/simple_pyramid_s.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.preset
