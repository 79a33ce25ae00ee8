"""Mask2Former for instances, ViT-Adapter-L, DINOv2 weights, 3x (ours)."""

_base_ = [
    '../_base_/models/mask2former_instance.py',
    '../_base_/encoders/dinov2.py',
    '../_base_/datasets/coco_masks_ms.py',
    '../_base_/runtime/detection_iterations.py',
    '../_base_/schedules/adamw_mask2former_3x.py',
]

model = _base_.pop('presets').l.detection
del model.neck  # Mask2Former's pixel decoder takes the four maps
model.panoptic_head = dict(in_channels=[1024] * 4)

# Layer-wise learning-rate decay of ViT-Adapter's detectors on these weights
# (detection/configs/mask_rcnn/dinov2/).
optim_wrapper = dict(paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.65))
