"""Scenes whose classes come in three steps, 3, 1 and 1, without any protection (ours).

The segmentation quick start's model, data (`python tools/dataset/make_shapes.py` makes them) and
schedule, with two shorter steps at a quarter of its rate. What the other files of this folder
change is in them.
"""

_base_ = '../shapes/upernet_vitadapter_xs.py'

later_iters = 500
continual = dict(
    groups='3-1',
    background='background',
    later=dict(
        train_cfg=dict(max_iters=later_iters, val_interval=later_iters),
        optim_wrapper=dict(optimizer=dict(lr=5e-4)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
            dict(
                type='CosineAnnealingLR',
                by_epoch=False,
                begin=0,
                end=later_iters,
                T_max=later_iters,
                eta_min_ratio=0.01,
            ),
        ],
    ),
)

train_cfg = dict(val_interval=_base_.max_iters)
default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=1))
