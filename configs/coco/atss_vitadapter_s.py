"""ATSS, ViT-Adapter-S, DeiT-S weights, 3x with multi-scale training."""

_base_ = [
    '../_base_/models/atss_fpn.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_detection_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.detection
# half of what the original's other detectors of size S have
model.backbone.encoder.drop_path_rate = 0.1

# float16 with dynamic loss scaling from 512 (ViT-Adapter, detection/configs/atss/*.py). No `dtype`
# is float16 on a GPU, and bfloat16, which needs no scaling, on the CPU.
optim_wrapper = dict(type='AutocastOptimWrapper', loss_scale=dict(init_scale=512))
