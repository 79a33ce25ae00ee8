"""Classes in three steps, three shapes and the background, then one and one: a mask for each class.

ECLIPSE (https://arxiv.org/abs/2403.20126) with MMSegmentation's head: after the first step nothing
but the new step's queries and heads trains. Model, schedule and constants are ours.
"""

_base_ = [
    '../_base_/models/mask2former.py',
    '../_base_/models/mask2former_xs_head.py',
    '../_base_/encoders/shapes_xs.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/runtime/mask2former.py',
    '../_base_/schedules/adamw_mask2former_xs.py',
    '../_base_/schedules/query_steps_xs.py',
]

continual = dict(
    # as an ordinary class of the first step: what comes later is of no class there
    groups=[['background', 'circle', 'square', 'triangle'], ['star'], ['cross']],
    later=dict(model=dict(decode_head=dict(loss_cls=dict(loss_weight=10.0)))),
)

num_classes = 6

model = dict(
    backbone=_base_.pop('backbone'),
    data_preprocessor=dict(size=(192, 192)),
    decode_head=dict(
        _base_.pop('mask2former_xs_head'),
        type='StepwiseMask2FormerHead',
        new_classes=[1, 1],
        step_queries=5,
        deltas=[0.4, 0.6],
        num_classes=num_classes,
        train_cfg=dict(num_points=2304),  # all pixels of the masks, which are 48 x 48
    ),
    test_cfg=dict(_delete_=True, mode='whole'),
)

train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=1))
