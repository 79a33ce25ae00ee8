"""Preset ViT-Adapter-T for segmentation, DeiT-T weights.

Source: ViT-Adapter, segmentation/configs/ade20k/upernet_deit_adapter_tiny_512_160k_ade20k.py.
"""

_base_ = './seg_vitadapter_s.py'

preset = dict(
    backbone=dict(
        encoder=dict(
            # deit_tiny_patch16_224-a1311bcf.pth
            model_name='deit_tiny_patch16_224.fb_in1k',
            drop_path_rate=0.1,
        ),
    ),
    decode_head=dict(in_channels=[192] * 4),
    auxiliary_head=dict(in_channels=192),
)
