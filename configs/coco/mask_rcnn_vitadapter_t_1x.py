"""Mask R-CNN, ViT-Adapter-T, DeiT-T weights, 1x."""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/deit.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_1x.py',
    '../_base_/runtime/detection.py',
]

model = _base_.pop('presets').t.detection

# The one config of the original with its own rate and decay
# (ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_deit_adapter_tiny_fpn_1x_coco.py).
optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=0.01))
