"""AdamW, 1,000 iterations: small detectors on the generated shapes, from random weights.

Rates as in the detection quick start (ours); DETR-type detectors learn at half of it.
"""

_base_ = './adamw_masks_xs.py'

optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(custom_keys={'backbone.interactions': dict(lr_mult=0.25)}),
)
