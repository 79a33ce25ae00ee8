"""UperNet, ViT-Adapter-B over a frozen DINOv3 encoder, crop 512, 160k iterations (ours)."""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/dinov3.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').b.frozen_segmentation

# Ours: no layer of the encoder trains, so that nothing decays from layer to layer.
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=12, layer_decay_rate=1.0),
)
