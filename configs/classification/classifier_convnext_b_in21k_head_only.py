"""ConvNeXt-B (ImageNet-21k), frozen, with a linear head."""

_base_ = './classifier_convnext_b_in21k_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='HeadOnly')))

optim_wrapper = dict(optimizer=dict(_base_.sgd, _delete_=True))
