"""EoMT with DINOv3 on ADE20K: 16 epochs of 1263 iterations, the encoder at a tenth of the rate.

Source: EoMT, configs/dinov3/ade20k/semantic/eomt_large_512.yaml. A config adds the blocks that take
the queries, which train at the full rate, and the iterations at which their masks open.
"""

_base_ = './adamw_eomt.py'

max_iters = 20208
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=2526)

optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=1.0, custom_keys={'backbone.encoder': dict(lr_mult=0.1)}),
)

param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters),
]
