"""Mask2Former, ViT-Adapter-S over a frozen DINOv2 encoder, crop 512, 160k iterations (ours)."""

_base_ = [
    '../_base_/models/mask2former.py',
    '../_base_/models/seg_vitadapter_s_dinov2_frozen.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/mask2former.py',
]

model = dict(
    data_preprocessor=_base_.preset.data_preprocessor,
    backbone=_base_.preset.backbone,
    decode_head=_base_.preset.decode_head,
)

# Ours: no layer of the encoder trains, so that nothing decays from layer to layer.
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=12, layer_decay_rate=1.0),
)
