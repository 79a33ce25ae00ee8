"""ADE20K in six steps, 100 classes and then 10 at a time: Mask2Former with queries for each step.

ECLIPSE's script/ade_ss/100_10.sh: 10 queries and 24k iterations a step, deltas of 0.1 and 0.7.
"""

_base_ = './mask2former_vitadapter_s_ade20k_100_50.py'

continual = dict(
    groups='100-10',
    later=dict(
        train_cfg=dict(max_iters=24000, val_interval=24000),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=500),
            dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=24000),
        ],
    ),
)

model = dict(decode_head=dict(new_classes=[10] * 5, step_queries=10, deltas=[0.1, 0.7]))
