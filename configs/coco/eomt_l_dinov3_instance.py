"""EoMT for instances, DINOv3-L, 640 pixels, 12 epochs: the published recipe, 45.9 mask AP."""

_base_ = [
    '../_base_/models/mask_head_instance.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/coco_masks_640.py',
    '../_base_/schedules/adamw_eomt_coco_1x.py',
    '../_base_/runtime/detection_iterations.py',
]

model = _base_.pop('mask_presets').l.eomt_objects

# Those of EoMT, configs/dinov3/coco/instance/eomt_large_640.yaml.
custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[14782, 29564, 44346, 59128],
        end=[29564, 44346, 59128, 73910],
    ),
]
