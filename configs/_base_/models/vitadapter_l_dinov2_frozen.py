"""Preset ViT-Adapter-L over a frozen DINOv2 encoder: extractors only, no windows.

The design of DINOv3's adapter (Simeoni et al., https://arxiv.org/abs/2508.10104, section 6.3.2):
nothing is injected, so that the encoder runs without gradients and in bfloat16 under autocast; the
ViT's map after interaction i is added to level i. All else is the preset of this size.
"""

_base_ = './vitadapter_l.py'

preset = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            # 14-pixel patches as they were pre-trained; positions are resampled from 37 x 37
            model_name='vit_large_patch14_dinov2.lvd142m',
            pretrained=True,
            keep_prefix_tokens=True,
            frozen=True,
        ),
        injector=False,
        vit_feature='per_stage',
        # of the extractors; the encoder has none
        drop_path_rate=0.4,
    ),
)
