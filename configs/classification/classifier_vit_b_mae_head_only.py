"""ViT-B/16 of MAE, frozen, with a linear head."""

_base_ = './classifier_vit_b_mae_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='HeadOnly')))

optim_wrapper = dict(optimizer=dict(_base_.sgd, _delete_=True))
