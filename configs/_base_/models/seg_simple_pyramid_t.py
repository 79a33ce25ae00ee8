"""Preset plain ViT-T for segmentation, the baseline without adapter, DeiT-T weights."""

_base_ = './seg_simple_pyramid_s.py'

preset = dict(
    backbone=dict(encoder=dict(model_name='deit_tiny_patch16_224.fb_in1k')),
    decode_head=dict(in_channels=[192] * 4),
    auxiliary_head=dict(in_channels=192),
)
