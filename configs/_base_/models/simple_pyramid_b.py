"""Preset plain ViT-B, the baseline without adapter.

Source: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_deit_base_fpn_3x_coco.py.
"""

_base_ = './simple_pyramid_s.py'

preset = dict(
    backbone=dict(encoder=dict(model_name='deit_base_patch16_224.fb_in1k')),
    neck=dict(in_channels=[768] * 4),
)
