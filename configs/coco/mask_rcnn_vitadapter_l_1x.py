"""Mask R-CNN, ViT-Adapter-L, AugReg-L weights, 1x."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/augreg.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_1x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').l.detection

# Layer-wise learning-rate decay
# (ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_augreg_adapter_large_fpn_*_coco.py).
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, num_layers=24, layer_decay_rate=0.80),
)
