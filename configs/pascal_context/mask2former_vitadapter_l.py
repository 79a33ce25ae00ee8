"""Mask2Former, ViT-Adapter-L, AugReg-L weights, crop 480, 40k iterations.

The original published this model with BEiT-L weights (`mask2former_vitadapter_l_beit`). What comes
with the weights, normalisation and drop path, is that of AugReg; all else is as it was there.
"""

_base_ = [
    '../_base_/models/mask2former_wide.py',
    '../_base_/models/seg_vitadapter_l.py',
    '../_base_/datasets/pascal_context_59.py',
    '../_base_/schedules/adamw_poly_40k.py',
    '../_base_/runtime/mask2former.py',
]

num_classes = 59
model = dict(
    data_preprocessor=dict(size=(480, 480), **_base_.preset.data_preprocessor),
    backbone=_base_.preset.backbone,
    decode_head=dict(
        num_classes=num_classes,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
        **_base_.preset.decode_head,
    ),
    test_cfg=dict(crop_size=(480, 480), stride=(320, 320)),
)

# segmentation/configs/pascal_context/mask2former_beit_adapter_large_480_40k_*.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)
