"""Preset ViT-Adapter-S for detection, DINOv3 weights (ours: the original has none).

Windows, drop path and adapter are those of the preset of this size; rotary positions follow windows
and image, CLS and registers are kept and join every window.
"""

_base_ = './vitadapter_s.py'

preset = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            model_name='vit_small_patch16_dinov3.lvd1689m',
            pretrained=True,
            keep_prefix_tokens=True,
            window_sizes=[14, 14, None] * 4,
            drop_path_rate=0.2,
        ),
    ),
)
