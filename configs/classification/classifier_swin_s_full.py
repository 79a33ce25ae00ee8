"""Swin-S (ImageNet-1k), 224 px.

All of it trains; IMAGE_SET chooses the data set.
"""

_base_ = './classifier_swin_b_full.py'

model = dict(
    backbone=dict(backbone=dict(model_name='swin_small_patch4_window7_224.ms_in1k')),
    neck=dict(in_channels=768),
    head=dict(in_channels=768),
)
