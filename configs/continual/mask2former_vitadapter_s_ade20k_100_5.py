"""ADE20K in eleven steps, 100 classes and then 5 at a time: Mask2Former with queries for each step.

ECLIPSE's script/ade_ss/100_5.sh: 5 queries and 12k iterations a step, deltas of 0.1 and 0.8.
"""

_base_ = './mask2former_vitadapter_s_ade20k_100_50.py'

continual = dict(
    groups='100-5',
    later=dict(
        train_cfg=dict(max_iters=12000, val_interval=12000),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=500),
            dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=12000),
        ],
    ),
)

model = dict(decode_head=dict(new_classes=[5] * 10, step_queries=5, deltas=[0.1, 0.8]))
