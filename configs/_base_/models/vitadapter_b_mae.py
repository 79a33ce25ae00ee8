"""Preset ViT-Adapter-B for detection, MAE weights.

Source: ViT-Adapter, detection/configs/upgraded_mask_rcnn/*_mae_adapter_base_*_25ep_*.py: no layer
scale, no extra extractors.
"""

_base_ = './vitadapter_b.py'

preset = dict(
    backbone=dict(
        encoder=dict(
            model_name='vit_base_patch16_224.mae',
            init_values=None,
            drop_path_rate=0.1,
        ),
        use_extra_extractor=False,
    ),
)
