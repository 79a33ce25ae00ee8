"""UperNet, ResNet-50, tuned with prompt blocks (reconstruction), crop 512, 80k iterations."""

_base_ = './upernet_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='ProTuning')))
