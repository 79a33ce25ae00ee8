"""PMT on COCO: 12 epochs of 7392 iterations, masks open block by block.

Source: PMT, image/configs/coco/**/pmt_*_640.yaml.
"""

_base_ = './adamw_pmt.py'

max_iters = 88704
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=7392)

param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters),
]

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 23651, 32520, 41389, 50258, 59128],
        end=[3000, 38433, 47302, 56171, 65040, 73910],
    ),
]
