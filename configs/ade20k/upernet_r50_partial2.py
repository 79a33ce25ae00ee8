"""UperNet, ResNet-50, the last two residual blocks tuned, crop 512, 80k iterations."""

_base_ = './upernet_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='PartialTuning', num_blocks=2)))
