"""UperNet, ResNet-50 tuned whole, crop 512, 80k iterations."""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/resnet50.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/sgd_poly_80k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').segmentation

# Beside every checkpoint a small one with what was tuned.
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
