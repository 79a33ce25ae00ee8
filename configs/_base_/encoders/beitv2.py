"""BEiT v2 (https://arxiv.org/abs/2208.06366), ImageNet-1k, fine-tuned on ImageNet-22k.

As with BEiT, but for the drop path of L in detection (ViT-Adapter,
detection/configs/htc++/*_beitv2_*_large_*.py). The original has no B model with these weights.
"""

_base_ = './beit.py'

presets = {
    size: dict(
        detection=dict(
            backbone=dict(encoder=dict(model_name=name, drop_path_rate=drop_path_rate)),
        ),
        segmentation=dict(backbone=dict(encoder=dict(model_name=name))),
    )
    for size, name, drop_path_rate in (
        ('b', 'beitv2_base_patch16_224.in1k_ft_in22k', 0.2),
        ('l', 'beitv2_large_patch16_224.in1k_ft_in22k', 0.4),
    )
}
