"""Cascade Mask R-CNN, ResNet-50 tuned whole, 1x."""

_base_ = [
    '../_base_/models/cascade_mask_rcnn_fpn.py',
    '../_base_/encoders/resnet50.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/sgd_1x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').detection

# Beside every checkpoint a small one with what was tuned.
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
