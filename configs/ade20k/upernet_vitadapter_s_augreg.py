"""UperNet, ViT-Adapter-S, AugReg weights, crop 512, 160k iterations (ours)."""

_base_ = './upernet_vitadapter_b_augreg.py'

model = dict(
    backbone=dict(
        encoder=dict(
            model_name='vit_small_patch16_384.augreg_in21k_ft_in1k',
            drop_path_rate=0.2,
        ),
        deform_num_heads=6,
        deform_ratio=1.0,
    ),
    decode_head=dict(in_channels=[384] * 4),
    auxiliary_head=dict(in_channels=384),
)
