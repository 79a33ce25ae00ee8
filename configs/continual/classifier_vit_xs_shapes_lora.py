"""LoRA on a frozen encoder, the same one for all tasks; new rows for each (ours)."""

_base_ = './classifier_vit_xs_shapes.py'

continual = dict(rows='task', logits='task')
model = dict(backbone=dict(tuning=dict(type='LoRA', rank=4)))
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
optim_wrapper = dict(optimizer=dict(lr=3e-3))
