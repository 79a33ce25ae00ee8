"""DeiT-S (ImageNet-1k), 224 px.

All of it trains; IMAGE_SET chooses the data set.
"""

_base_ = './classifier_deit_b_full.py'

model = dict(
    backbone=dict(encoder=dict(model_name='deit_small_patch16_224.fb_in1k')),
    neck=dict(in_channels=384),
    head=dict(in_channels=384),
)
