"""A classifier on DeiT-T, its CLS token through a linear head; all of it trains."""

_base_ = './classifier_vit_s.py'

model = dict(
    backbone=dict(encoder=dict(model_name='deit_tiny_patch16_224.fb_in1k')),
    neck=dict(in_channels=192),
    head=dict(in_channels=192),
)
