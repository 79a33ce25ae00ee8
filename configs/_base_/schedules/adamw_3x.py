"""AdamW, 36 epochs (3x), as ViT-Adapter trains detectors.

Source: ViT-Adapter, detection/configs/_base_/schedules/schedule_3x.py.
"""

_base_ = './adamw_1x.py'

train_cfg = dict(max_epochs=36)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]
