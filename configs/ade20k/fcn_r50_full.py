"""FCN-D8, ResNet-50 tuned whole, crop 512, 80k iterations."""

_base_ = [
    '../_base_/models/fcn_d8.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/sgd_poly_80k.py',
    '../_base_/runtime/segmentation.py',
]

# Beside every checkpoint a small one with what was tuned.
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
