"""Mask R-CNN, ViT-Adapter-B, MAE weights, 3x with multi-scale training (ours).

The original's backbone in the plain recipe: its published 50.3 / 44.7 (25 epochs) and 50.8 / 45.1
(50 epochs) are of another detector, with large-scale jittering, deeper heads and SyncBN in them.
"""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/mae.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').b.detection
