"""EoMT for instances, DINOv3-S, 640 pixels, 24 epochs: panoptic segmentation's recipe (ours)."""

_base_ = [
    '../_base_/models/mask_head_instance.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/coco_masks_640.py',
    '../_base_/schedules/adamw_eomt_coco_2x.py',
    '../_base_/runtime/detection_iterations.py',
]

model = _base_.pop('mask_presets').s.eomt_objects
