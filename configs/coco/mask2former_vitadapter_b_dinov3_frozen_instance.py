"""Mask2Former for instances, ViT-Adapter-B over a frozen DINOv3 encoder, 3x (ours)."""

_base_ = [
    '../_base_/models/mask2former_instance.py',
    '../_base_/encoders/dinov3.py',
    '../_base_/datasets/coco_masks_ms.py',
    '../_base_/runtime/detection_iterations.py',
    '../_base_/schedules/adamw_mask2former_3x.py',
]

model = _base_.pop('presets').b.frozen_detection
del model.neck  # Mask2Former's pixel decoder takes the four maps
model.panoptic_head = dict(in_channels=[768] * 4)

# Ours: no layer of the encoder trains, so that nothing decays from layer to layer.
optim_wrapper = dict(paramwise_cfg=dict(num_layers=12, layer_decay_rate=1.0))
