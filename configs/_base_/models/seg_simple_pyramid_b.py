"""Preset plain ViT-B for segmentation, the baseline without adapter, DeiT-B weights."""

_base_ = './seg_simple_pyramid_s.py'

preset = dict(
    backbone=dict(encoder=dict(model_name='deit_base_patch16_224.fb_in1k')),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768),
)
