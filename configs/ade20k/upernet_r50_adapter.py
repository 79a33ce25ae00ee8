"""UperNet, ResNet-50, adapters behind its residual blocks, crop 512, 80k iterations."""

_base_ = './upernet_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='Adapter')))
