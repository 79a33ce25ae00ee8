"""Mask R-CNN, ViT-Adapter-B, prompt blocks in the encoder (reconstruction).

Schedule: 3x with multi-scale training.
"""

_base_ = './mask_rcnn_vitadapter_b.py'

model = dict(backbone=dict(tuning=dict(type='ProTuning')))

default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
