"""EoMT, DINOv3-S, crop 512, 16 epochs: the recipe published for size L (ours)."""

_base_ = [
    '../_base_/models/mask_head.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_eomt_ade20k.py',
    '../_base_/runtime/mask2former.py',
]

model = _base_.pop('mask_presets').s.eomt_semantic

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={f'backbone.encoder.blocks.{i}.': dict(lr_mult=1.0) for i in range(9, 12)},
    ),
)

# With the shares of the training that S and B have on COCO.
custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 8420, 13470],
        end=[3000, 11790, 16840],
    ),
]
