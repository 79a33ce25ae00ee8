"""A small Mask2Former from random weights: the quick start's schedule at half its rate (ours)."""

_base_ = './adamw_cosine_xs.py'

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(
        custom_keys=dict(
            query_embed=dict(decay_mult=0.0),
            query_feat=dict(decay_mult=0.0),
        ),
    ),
)
