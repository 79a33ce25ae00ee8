"""Objects of shapes that come in three steps, 3, 1 and 1, without any protection (ours).

The detection quick start's model, data and first schedule; later steps take a third of it.
"""

_base_ = '../shapes/mask_rcnn_vitadapter_xs.py'

max_iters = 600

continual = dict(
    groups='3-1',
    later=dict(
        train_cfg=dict(max_iters=max_iters, val_interval=max_iters),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
            dict(
                type='CosineAnnealingLR',
                by_epoch=False,
                begin=0,
                end=max_iters,
                T_max=max_iters,
                eta_min_ratio=0.01,
            ),
        ],
    ),
)
del max_iters

default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=1))
