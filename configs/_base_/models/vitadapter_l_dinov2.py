"""Preset ViT-Adapter-L for detection, DINOv2 weights, at the patch size 16 of the original.

Source: ViT-Adapter, detection/configs/mask_rcnn/dinov2/*_large_*.py: patches resampled from 14 to
16, positions read as a 37 x 37 grid (`pretrain_size=592`). The hub's weights are resampled by timm;
for the original's bilinear resampling convert Meta's file with tools/convert/official_checkpoint.py
and `--patch-size 16`.
"""

_base_ = './vitadapter_l.py'

preset = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            model_name='vit_large_patch14_dinov2.lvd142m',
            patch_size=16,
            img_size=592,
        ),
    ),
)
