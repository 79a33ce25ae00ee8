"""Preset ViT-Adapter-B for segmentation over a frozen DINOv3 encoder (ours).

The design of DINOv3's adapter (Simeoni et al., https://arxiv.org/abs/2508.10104, section 6.3.2):
nothing is injected, so that the encoder runs without gradients and in bfloat16 under autocast.
"""

_base_ = './seg_vitadapter_b.py'

preset = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            model_name='vit_base_patch16_dinov3.lvd1689m',
            keep_prefix_tokens=True,
            frozen=True,
            pretrained=True,
        ),
        injector=False,
        # of the extractors; the encoder has none
        drop_path_rate=0.3,
    ),
)
