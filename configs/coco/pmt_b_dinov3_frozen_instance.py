"""PMT for instances, frozen DINOv3-B, 640 pixels, 12 epochs: the recipe published for size L
(ours).
"""

_base_ = [
    '../_base_/models/mask_head_instance.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/coco_masks_640.py',
    '../_base_/schedules/adamw_pmt_coco.py',
    '../_base_/runtime/detection_iterations.py',
]

model = _base_.pop('mask_presets').b.pmt_objects
