"""A frozen encoder, and new rows of the classifier for each task (ours).

The plainest protection, after DFT* (https://arxiv.org/abs/2508.04267): no old number changes.
"""

_base_ = './classifier_vit_xs_shapes.py'

continual = dict(rows='task')
model = dict(backbone=dict(tuning=dict(type='HeadOnly')))
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
optim_wrapper = dict(optimizer=dict(lr=1e-2))
