"""FCN-D8, ResNet-50 tuned whole, crop 512, 80k iterations."""

_base_ = [
    '../_base_/models/fcn_d8.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/sgd_poly_80k.py',
    '../_base_/runtime/segmentation.py',
]

model = dict(
    backbone=_base_.preset.backbone,
    decode_head=dict(_delete_=True, **_base_.preset.decode_head),
    auxiliary_head=_base_.preset.auxiliary_head,
)

# Beside every checkpoint a small one with what was tuned.
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
