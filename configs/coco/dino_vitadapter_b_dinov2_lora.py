"""DINO with four levels, ViT-Adapter-B, LoRA on a DINOv2 encoder, 12 epochs (ours)."""

_base_ = './dino_vitadapter_b_dinov2.py'

model = dict(backbone=dict(tuning=dict(type='LoRA', rank=8)))

# What LoRA adds is new, and learns at the whole rate; the rest of the encoder does not train.
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True))

default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
