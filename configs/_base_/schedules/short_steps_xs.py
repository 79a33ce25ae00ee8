"""Later tasks of the quick start's models: 500 iterations at a quarter of the rate (ours)."""

_iters = 500

continual = dict(
    later=dict(
        train_cfg=dict(max_iters=_iters, val_interval=_iters),
        optim_wrapper=dict(optimizer=dict(lr=5e-4)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
            dict(
                type='CosineAnnealingLR',
                by_epoch=False,
                begin=0,
                end=_iters,
                T_max=_iters,
                eta_min_ratio=0.01,
            ),
        ],
    ),
)
del _iters
