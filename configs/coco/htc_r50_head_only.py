"""HTC without semantic branch, ResNet-50, the backbone frozen, 1x."""

_base_ = './htc_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='HeadOnly')))
