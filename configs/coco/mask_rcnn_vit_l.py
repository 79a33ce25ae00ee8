"""Mask R-CNN, plain ViT-L, AugReg weights, 3x with multi-scale training."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/augreg.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').l.baseline_detection

# Layer-wise learning-rate decay
# (ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_augreg_large_fpn_3x_coco.py).
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, num_layers=24, layer_decay_rate=0.80),
)
