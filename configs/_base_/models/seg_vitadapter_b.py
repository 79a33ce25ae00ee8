"""Preset ViT-Adapter-B for segmentation, DeiT-B weights.

Source: ViT-Adapter, segmentation/configs/ade20k/upernet_deit_adapter_base_512_160k_ade20k.py.
"""

_base_ = './seg_vitadapter_s.py'

preset = dict(
    backbone=dict(
        encoder=dict(
            # deit_base_patch16_224-b5f2ef4d.pth
            model_name='deit_base_patch16_224.fb_in1k',
            drop_path_rate=0.3,
        ),
        deform_num_heads=12,
        deform_ratio=0.5,
    ),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768),
)
