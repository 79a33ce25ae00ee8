"""UperNet, ViT-Adapter-S, EVA-02 weights, crop 512, 160k iterations (ours)."""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/eva02.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').s.segmentation

# Ours; the rate of decay follows the original on other self-supervised weights.
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=12, layer_decay_rate=0.80),
)
