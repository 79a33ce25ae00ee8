"""Mask2Former, ViT-Adapter-L, AugReg-L weights, crop 896, 80k iterations.

The original published this model with BEiT-L weights and training on Mapillary Vistas before
(`mask2former_vitadapter_l_beit`). What comes with the weights, normalisation and drop path, is that
of AugReg; all else is as it was there.
"""

_base_ = [
    '../_base_/models/mask2former_wide.py',
    '../_base_/encoders/augreg.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/adamw_poly_80k.py',
    '../_base_/runtime/mask2former.py',
]

num_classes = 19
model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
model.data_preprocessor.size = (896, 896)
model.decode_head.update(
    num_classes=num_classes,
    loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
)
model.test_cfg = dict(crop_size=(896, 896), stride=(512, 512))

# segmentation/configs/cityscapes/mask2former_beit_adapter_large_896_80k_cityscapes_ss.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)

# 16 GPUs x 1 image.
train_dataloader = dict(batch_size=1)
