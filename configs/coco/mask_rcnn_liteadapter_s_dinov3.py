"""Mask R-CNN, LiteAdapter-S, DINOv3 weights, 3x with multi-scale training (ours)."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/dinov3.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').s.lite_detection

# Layer-wise learning-rate decay, as for ViT-Adapter on DINOv3.
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, num_layers=12, layer_decay_rate=0.70),
)
