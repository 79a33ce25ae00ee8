"""Cascade Mask R-CNN, ViT-Adapter-B, DeiT-B weights, 3x with multi-scale training."""

_base_ = [
    '../_base_/models/cascade_mask_rcnn_fpn.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').b.detection

# float16 with dynamic loss scaling from 512 (ViT-Adapter, detection/configs/cascade_rcnn/*.py). No
# `dtype` is float16 on a GPU, and bfloat16, which needs no scaling, on the CPU.
optim_wrapper = dict(type='AutocastOptimWrapper', loss_scale=dict(init_scale=512))
