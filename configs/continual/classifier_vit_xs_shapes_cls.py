"""Prompts that a VAE makes of what the frozen encoder sees of the image (ours)."""

_base_ = './classifier_vit_xs_shapes_l2p.py'

model = dict(
    backbone=dict(tuning=dict(_delete_=True, type='ClsPromptGenerator', length=6, query='mean'))
)
custom_hooks = []
