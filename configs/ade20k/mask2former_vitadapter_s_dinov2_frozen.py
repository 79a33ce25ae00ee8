"""Mask2Former, ViT-Adapter-S over a frozen DINOv2 encoder, crop 512, 160k iterations (ours)."""

_base_ = [
    '../_base_/models/mask2former.py',
    '../_base_/encoders/dinov2.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/mask2former.py',
]

model = _base_.pop('presets').s.frozen_segmentation
del model.auxiliary_head  # Mask2Former has none

# Ours: no layer of the encoder trains, so that nothing decays from layer to layer.
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=12, layer_decay_rate=1.0),
)
