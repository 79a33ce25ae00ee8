"""Later tasks of small frozen models: 300 iterations for their queries or prompts alone (ours)."""

continual = dict(
    freeze_rest=True,
    later=dict(
        train_cfg=dict(max_iters=300, val_interval=300),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
            dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=300),
        ],
    ),
)
