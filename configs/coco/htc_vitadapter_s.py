"""HTC without the semantic branch, ViT-Adapter-S, DeiT-S weights, 3x with multi-scale training.

Ours: the original published HTC++ with the L backbone alone. Heads as in MMDetection's HTC,
backbone and schedule as in our Mask R-CNN with the same backbone.
"""

_base_ = [
    '../_base_/models/htc_fpn.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.detection
