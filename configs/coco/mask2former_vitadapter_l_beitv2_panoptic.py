"""Mask2Former for panoptic segmentation, ViT-Adapter-L, BEiT v2 weights, 3x.

Published: PQ 58.4 (things 65.0, stuff 48.4), box AP 52.9, mask AP 48.9.
Source: ViT-Adapter, detection/configs/mask2former/mask2former_beitv2_adapter_large_16x1_3x_*.py.
"""

_base_ = [
    '../_base_/models/mask2former_panoptic.py',
    '../_base_/encoders/beitv2.py',
    '../_base_/datasets/coco_panoptic_ms.py',
    '../_base_/runtime/panoptic.py',
    '../_base_/schedules/adamw_mask2former_3x.py',
]

model = _base_.pop('presets').l.detection
del model.neck  # Mask2Former's pixel decoder takes the four maps
model.panoptic_head = dict(in_channels=[1024] * 4)
