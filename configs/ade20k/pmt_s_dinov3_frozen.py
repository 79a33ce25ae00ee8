"""PMT, frozen DINOv3-S, crop 512, 16 epochs: the recipe published for size L (ours)."""

_base_ = [
    '../_base_/models/mask_head.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_pmt_ade20k.py',
    '../_base_/runtime/mask2former.py',
]

model = _base_.pop('mask_presets').s.pmt_semantic
