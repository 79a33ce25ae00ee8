"""ViT-B/16 of MAE, tuned with prompt blocks (reconstruction)."""

_base_ = './classifier_vit_b_mae_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='ProTuning')))
