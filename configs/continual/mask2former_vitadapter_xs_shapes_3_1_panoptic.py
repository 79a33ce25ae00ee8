"""Segments whose classes come in three steps, three shapes and the background, then one and one.

ECLIPSE (https://arxiv.org/abs/2403.20126) on the small Mask2Former of the shapes: after the first
step nothing but the new step's queries and heads trains. Model, schedule and constants are ours.
"""

_base_ = [
    '../shapes/mask2former_vitadapter_xs_panoptic.py',
    '../_base_/schedules/query_steps_xs.py',
]

continual = dict(
    groups=[['circle', 'square', 'triangle', 'background'], ['star'], ['cross']],
    # ECLIPSE: the classes weigh five times as much in later steps
    later=dict(model=dict(panoptic_head=dict(loss_cls=dict(loss_weight=10.0)))),
)

model = dict(
    panoptic_head=dict(
        type='StepwiseMask2FormerHead',
        new_classes=[1, 1],
        step_queries=5,
        deltas=[0.4, 0.6],  # of no object: the first step's queries, and all later ones'
    ),
)

train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=1))
