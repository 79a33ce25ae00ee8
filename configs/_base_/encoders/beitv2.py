"""BEiT v2 (https://arxiv.org/abs/2208.06366), ImageNet-1k, fine-tuned on ImageNet-22k.

Segmentation is as with BEiT. Source of detection: ViT-Adapter,
detection/configs/htc++/*_beitv2_*_large_*.py, and segmentation/configs/*/*_beit_*_base_*.py for B's
drop path; windows of 56 act as global attention. The original has no B model with these weights.
"""

_base_ = './beit.py'

presets = {
    size: dict(
        detection=dict(
            backbone=dict(
                encoder=dict(
                    model_name=name,
                    # The table of each block is resampled to its window.
                    window_sizes=[
                        window or 56
                        for window in _base_.presets[size].detection.backbone.encoder.window_sizes
                    ],
                    window_pad='input',
                    drop_path_rate=drop_path_rate,
                    init_values=1e-6,
                ),
                injector_init=1e-6,
            ),
        ),
        segmentation=dict(backbone=dict(encoder=dict(model_name=name))),
    )
    for size, name, drop_path_rate in (
        ('b', 'beitv2_base_patch16_224.in1k_ft_in22k', 0.2),
        ('l', 'beitv2_large_patch16_224.in1k_ft_in22k', 0.4),
    )
}
