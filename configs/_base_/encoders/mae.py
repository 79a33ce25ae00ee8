"""MAE (https://arxiv.org/abs/2111.06377), ImageNet-1k, for detection.

Source: ViT-Adapter, detection/configs/upgraded_mask_rcnn/*_mae_adapter_base_*_25ep_*.py: no layer
scale, no extra extractors. L is ours, as the original's B but for the drop path, which is its
size's.
"""

_base_ = '../models/vit_presets.py'

presets = dict(
    b=dict(
        detection=dict(
            backbone=dict(
                encoder=dict(
                    model_name='vit_base_patch16_224.mae', init_values=None, drop_path_rate=0.1
                ),
                use_extra_extractor=False,
            ),
        ),
    ),
    l=dict(
        detection=dict(
            backbone=dict(
                encoder=dict(model_name='vit_large_patch16_224.mae', init_values=None),
                use_extra_extractor=False,
            ),
        ),
    ),
)
