"""EoMT in the quick start's encoder, on the generated shapes.

Objects and background (ours). `make train` trains the encoder; or name another
file: `--cfg-options model.backbone.encoder.pretrained=FILE`.
"""

_base_ = [
    '../_base_/models/mask_head_xs.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/shapes_panoptic.py',
    '../_base_/schedules/adamw_masks_xs.py',
    '../_base_/runtime/panoptic.py',
]

model = _base_.pop('mask_presets').xs.eomt_objects

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 400],
        end=[300, 700],
    ),
]

train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
default_hooks = dict(checkpoint=dict(interval=500))
