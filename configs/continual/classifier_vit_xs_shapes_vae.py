"""Prompts that a VAE makes of the image, on a frozen encoder (ours)."""

_base_ = './classifier_vit_xs_shapes_l2p.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='VAEPromptGenerator', length=6)))
custom_hooks = []
