"""UperNet, ViT-Adapter-L, Uni-Perceiver weights, crop 512, 160k iterations."""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/uniperceiver.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').l.segmentation

# segmentation/configs/ade20k/upernet_uniperceiver_adapter_large_512_160k_ade20k.py
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    loss_scale=dict(init_scale=512),
    optimizer=dict(weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.80),
)
