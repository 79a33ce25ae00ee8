"""UperNet, ResNet-50, a side network beside the frozen backbone, crop 512, 80k iterations."""

_base_ = './upernet_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='SideTuning')))
