"""AdamW, 1,000 iterations, a short warm-up, a cosine: small mask heads on trained encoders.

Ours. A config adds the iterations at which its masks open.
"""

_base_ = './adamw_cosine_xs.py'

max_iters = 1000
train_cfg = dict(max_iters=max_iters, val_interval=500)

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(
        custom_keys={
            '_delete_': True,
            'backbone.encoder': dict(lr_mult=0.25),
            'queries': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters, T_max=max_iters)
