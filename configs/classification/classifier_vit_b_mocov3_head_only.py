"""ViT-B/16 of MoCo v3, frozen, with a linear head."""

_base_ = './classifier_vit_b_mocov3_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='HeadOnly')))

optim_wrapper = dict(optimizer=dict(_base_.sgd, _delete_=True))
