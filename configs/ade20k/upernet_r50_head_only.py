"""UperNet, ResNet-50, the backbone frozen, crop 512, 80k iterations."""

_base_ = './upernet_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='HeadOnly')))
