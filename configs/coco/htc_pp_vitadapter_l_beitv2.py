"""HTC++, ViT-Adapter-L, BEiT v2 weights, 3x with multi-scale training."""

_base_ = [
    '../_base_/models/htc_pp_fpn.py',
    '../_base_/encoders/beitv2.py',
    '../_base_/datasets/coco_stuff_instance.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').l.detection
widths = model.neck.in_channels
# The numbers here and below: ViT-Adapter, detection/configs/htc++/*_beitv2_*_3x_coco.py.
model.neck = [
    dict(type='ExtraAttention', in_channels=widths, num_heads=32, drop_path=0.3),
    dict(type='FPN', in_channels=widths, out_channels=256, num_outs=5),
]

# Layer-wise learning-rate decay.
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, num_layers=24, layer_decay_rate=0.90),
)
