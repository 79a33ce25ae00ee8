"""Mask2Former for instances, ViT-Adapter-L, BEiT v2 weights, 3x (ours)."""

_base_ = [
    '../_base_/models/mask2former_instance.py',
    '../_base_/encoders/beitv2.py',
    '../_base_/datasets/coco_masks_ms.py',
    '../_base_/runtime/detection_iterations.py',
    '../_base_/schedules/adamw_mask2former_3x.py',
]

model = _base_.pop('presets').l.detection
del model.neck  # Mask2Former's pixel decoder takes the four maps
model.panoptic_head = dict(in_channels=[1024] * 4)
