"""EoMT for panoptic segmentation, DINOv3-S, 640 pixels, 24 epochs: the published recipe, 47.2
PQ.
"""

_base_ = [
    '../_base_/models/mask_head_panoptic.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/coco_panoptic_640.py',
    '../_base_/schedules/adamw_eomt_coco_2x.py',
    '../_base_/runtime/panoptic.py',
]

model = _base_.pop('mask_presets').s.eomt_objects
