"""Mask2Former, ViT-Adapter-B, EVA-02 weights, crop 512, 160k iterations (ours)."""

_base_ = [
    '../_base_/models/mask2former.py',
    '../_base_/models/seg_vitadapter_b_eva02.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/mask2former.py',
]

model = dict(
    data_preprocessor=_base_.preset.data_preprocessor,
    backbone=_base_.preset.backbone,
    decode_head=_base_.preset.decode_head,
)

# Ours; the rate of decay follows the original on other self-supervised weights.
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=12, layer_decay_rate=0.80),
)
