"""ADE20K in two steps, 100 classes and then 50: Mask2Former with queries for each step.

ECLIPSE (https://arxiv.org/abs/2403.20126; script/ade_ss/100_50.sh of its code): 50 queries and
120k iterations at 1e-3 for the step, deltas of 0.0 and -0.1 in the evaluation, the classes weighed
by 10, `overlap`. They were set by hand, and the code names no images apart for that. Ours: the
encoder, the optimiser of the first step, a softmax in place of sigmoids (docs/continual.md).
"""

_base_ = '../ade20k/mask2former_vitadapter_s_dinov3_frozen.py'

continual = dict(
    groups='100-50',
    protocol='overlap',
    freeze_rest=True,
    later=dict(
        train_cfg=dict(max_iters=120000, val_interval=120000),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=500),
            dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=120000),
        ],
        optim_wrapper=dict(optimizer=dict(lr=1e-3)),
        model=dict(decode_head=dict(loss_cls=dict(loss_weight=10.0))),
    ),
)

model = dict(
    decode_head=dict(
        type='StepwiseMask2FormerHead', new_classes=[50], step_queries=50, deltas=[0.0, -0.1]
    ),
)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
