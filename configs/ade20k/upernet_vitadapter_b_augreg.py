"""UperNet, ViT-Adapter-B, AugReg-B weights, crop 512, 160k iterations."""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/augreg.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').b.segmentation

# The one config of the original without layer-wise decay: heads learn ten times as fast
# (segmentation/configs/ade20k/upernet_augreg_adapter_base_512_160k_ade20k.py).
# float16 with dynamic loss scaling from 512, as in the original. No `dtype` is float16 on a GPU;
# on a CPU it is bfloat16, which needs no scaling, or float32 where that has no instructions for it.
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    loss_scale=dict(init_scale=512),
    optimizer=dict(lr=2e-5),
    constructor='DefaultOptimWrapperConstructor',
    paramwise_cfg=dict(
        _delete_=True,
        custom_keys={
            'level_embed': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
            'bias': dict(decay_mult=0.0),
            'head': dict(lr_mult=10.0),
        },
    ),
)
