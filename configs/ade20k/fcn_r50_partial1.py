"""FCN, ResNet-50, the last residual block tuned, crop 512, 80k iterations."""

_base_ = './fcn_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='PartialTuning', num_blocks=1)))
