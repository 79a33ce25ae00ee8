"""Mask R-CNN, ViT-Adapter-B, deep visual prompts in the encoder, 3x with multi-scale training."""

_base_ = './mask_rcnn_vitadapter_b.py'

model = dict(backbone=dict(tuning=dict(type='VisualPromptTuning', num_tokens=10, deep=True)))

default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
