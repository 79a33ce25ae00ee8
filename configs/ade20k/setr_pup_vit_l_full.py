"""SETR-PUP, plain ViT-L tuned whole, AugReg weights (ImageNet-21k), crop 512, 160k iterations."""

_base_ = [
    '../_base_/models/setr_pup.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/sgd_poly_160k.py',
    '../_base_/runtime/segmentation.py',
]

# Beside every checkpoint a small one with what was tuned.
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
