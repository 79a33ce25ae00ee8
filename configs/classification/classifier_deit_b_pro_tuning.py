"""DeiT-B, tuned with prompt blocks (reconstruction)."""

_base_ = './classifier_deit_b_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='ProTuning')))
