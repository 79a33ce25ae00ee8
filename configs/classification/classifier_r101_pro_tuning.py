"""ResNet-101, tuned with prompt blocks (reconstruction)."""

_base_ = './classifier_r101_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='ProTuning')))
