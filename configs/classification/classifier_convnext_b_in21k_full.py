"""ConvNeXt-B (ImageNet-21k), 224 px."""

_base_ = './classifier_swin_b_full.py'

model = dict(backbone=dict(backbone=dict(model_name='convnext_base.fb_in22k')))
