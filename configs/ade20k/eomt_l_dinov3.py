"""EoMT, DINOv3-L, crop 512, 16 epochs: the published recipe, 59.5 mIoU."""

_base_ = [
    '../_base_/models/mask_head.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_eomt_ade20k.py',
    '../_base_/runtime/mask2former.py',
]

model = _base_.pop('mask_presets').l.eomt_semantic

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={f'backbone.encoder.blocks.{i}.': dict(lr_mult=1.0) for i in range(20, 24)},
    ),
)

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 6520, 9780, 13040],
        end=[3000, 9780, 13040, 16300],
    ),
]
