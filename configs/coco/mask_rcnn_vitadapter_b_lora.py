"""Mask R-CNN, ViT-Adapter-B, LoRA on the encoder, 3x with multi-scale training."""

_base_ = './mask_rcnn_vitadapter_b.py'

model = dict(backbone=dict(tuning=dict(type='LoRA', rank=8)))

default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
