"""PMT on ADE20K: 16 epochs of 1263 iterations, masks open block by block.

Source: PMT, image/configs/ade20k/semantic/pmt_l_512.yaml.
"""

_base_ = './adamw_pmt.py'

max_iters = 20208
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=2526)

param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters),
]

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 5384, 7403, 9422, 11442, 13461],
        end=[3000, 8749, 10769, 12788, 14807, 16826],
    ),
]
