"""Mask R-CNN, ViT-Adapter-L, DINOv2 weights, 3x with multi-scale training.

The original trained with the mean and deviation of AugReg by mistake, as its authors say (their
issue 184), and tested with ImageNet's; here both are ImageNet's.
"""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/dinov2.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').l.detection

# Layer-wise learning-rate decay
# (ViT-Adapter, detection/configs/mask_rcnn/dinov2/README.md).
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, num_layers=24, layer_decay_rate=0.65),
)
