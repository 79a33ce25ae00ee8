"""Preset plain ViT-T, the baseline without adapter.

Source: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_deit_tiny_fpn_3x_coco.py.
"""

_base_ = './simple_pyramid_s.py'

preset = dict(
    backbone=dict(encoder=dict(model_name='deit_tiny_patch16_224.fb_in1k')),
    neck=dict(in_channels=[192] * 4),
)
