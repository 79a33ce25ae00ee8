"""UperNet, LiteAdapter-S, DeiT-S weights, crop 512, 160k iterations (ours)."""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').s.lite_segmentation

# float16 with dynamic loss scaling from 512, as in the original. No `dtype` is float16 on a GPU;
# on a CPU it is bfloat16, which needs no scaling, or float32 where that has no instructions for it.
optim_wrapper = dict(type='AutocastOptimWrapper', loss_scale=dict(init_scale=512))
