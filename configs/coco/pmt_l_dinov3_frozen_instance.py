"""PMT for instances, frozen DINOv3-L, 640 pixels, 12 epochs: the published recipe, 45.4 mask AP."""

_base_ = [
    '../_base_/models/mask_head_instance.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/coco_masks_640.py',
    '../_base_/schedules/adamw_pmt_coco.py',
    '../_base_/runtime/detection_iterations.py',
]

model = _base_.pop('mask_presets').l.pmt_objects
