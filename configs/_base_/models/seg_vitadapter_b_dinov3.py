"""Preset ViT-Adapter-B for segmentation, DINOv3 weights (ours: the original has none).

Patches of 16 pixels, global attention; adapter and drop path are those of the preset of this size.
"""

_base_ = './seg_vitadapter_b.py'

preset = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            model_name='vit_base_patch16_dinov3.lvd1689m',
            drop_path_rate=0.3,
            keep_prefix_tokens=True,
            pretrained=True,
        ),
    ),
)
