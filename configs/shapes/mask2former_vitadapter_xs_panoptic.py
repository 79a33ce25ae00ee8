"""A small Mask2Former with ViT-Adapter on the generated shapes: objects and background.

From random weights, for two CPU cores (ours).
"""

_base_ = [
    '../_base_/models/mask2former_xs.py',
    '../_base_/datasets/shapes_panoptic.py',
    '../_base_/runtime/panoptic.py',
    '../_base_/schedules/adamw_mask2former_xs.py',
]

train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
default_hooks = dict(checkpoint=dict(interval=600))
