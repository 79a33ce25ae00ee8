"""Swin-B (ImageNet-21k), 224 px."""

_base_ = './classifier_swin_b_full.py'

model = dict(backbone=dict(backbone=dict(model_name='swin_base_patch4_window7_224.ms_in22k')))
