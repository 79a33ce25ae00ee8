"""Preset ViT-Adapter-B for detection, AugReg weights (ours; the original has L).

The preset of this size with the weights, grid and scaling of images of the L model.
"""

_base_ = './vitadapter_b.py'

preset = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(encoder=dict(model_name='vit_base_patch16_384.augreg_in21k_ft_in1k')),
)
