"""FCN, ResNet-50, tuned with prompt blocks (reconstruction), crop 512, 80k iterations."""

_base_ = './fcn_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='ProTuning')))
