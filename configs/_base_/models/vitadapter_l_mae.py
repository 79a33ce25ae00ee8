"""Preset ViT-Adapter-L for detection, MAE weights (ours, as the original's B)."""

_base_ = './vitadapter_l.py'

preset = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            model_name='vit_large_patch16_224.mae',
            init_values=None,
        ),
        use_extra_extractor=False,
    ),
)
