"""Mask2Former, ViT-Adapter-L, AugReg-L weights, crop 640, 160k iterations.

The original published this model with BEiT-L weights; all else is as it was there.
"""

_base_ = [
    '../_base_/models/mask2former_wide.py',
    '../_base_/encoders/augreg.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/mask2former.py',
]

model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
model.data_preprocessor.size = (640, 640)
model.test_cfg = dict(crop_size=(640, 640), stride=(426, 426))

# segmentation/configs/ade20k/mask2former_beit_adapter_large_640_160k_ade20k_ss.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)
