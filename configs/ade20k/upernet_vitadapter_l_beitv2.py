"""UperNet, ViT-Adapter-L, BEiT v2 weights, crop 640, 160k iterations.

The original has no such model.
"""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/models/seg_vitadapter_l_beitv2.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/adamw_poly_160k.py',
    '../_base_/runtime/segmentation.py',
]

model = dict(
    data_preprocessor=dict(size=(640, 640), **_base_.preset.data_preprocessor),
    backbone=_base_.preset.backbone,
    # BEiT's heads are twice as wide.
    decode_head=dict(channels=1024, **_base_.preset.decode_head),
    auxiliary_head=_base_.preset.auxiliary_head,
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)

# segmentation/configs/ade20k/upernet_beit_adapter_large_640_160k_ade20k_ss.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)
