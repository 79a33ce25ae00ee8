"""Sparse R-CNN, ViT-Adapter-S, DeiT-S weights, 3x with multi-scale training."""

_base_ = [
    '../_base_/models/sparse_rcnn_fpn.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_detection_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.detection

# ViT-Adapter, detection/configs/sparse_rcnn/*.py: gradients are clipped, and the learnt proposals
# follow slowly and are hardly decayed.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'rpn_head': dict(lr_mult=0.25, decay_mult=0.002)}),
    clip_grad=dict(_delete_=True, max_norm=1, norm_type=2),
)
