"""ViT-B/16 of MoCo v3, tuned with prompt blocks (reconstruction)."""

_base_ = './classifier_vit_b_mocov3_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='ProTuning')))
