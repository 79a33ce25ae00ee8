"""DINOv3 (https://arxiv.org/abs/2508.10104), LVD-1689M, patches of 16 pixels (ours).

Rotary positions follow windows and image; CLS and four registers are kept and join every window.
"""

_base_ = '../models/vit_presets.py'

presets = {
    size: dict.fromkeys(
        (
            *('detection', 'segmentation', 'frozen_detection', 'frozen_segmentation'),
            *('lite_detection', 'lite_segmentation'),
        ),
        dict(backbone=dict(encoder=dict(model_name=name, keep_prefix_tokens=True))),
    )
    for size, name in dict(
        s='vit_small_patch16_dinov3.lvd1689m',
        b='vit_base_patch16_dinov3.lvd1689m',
        l='vit_large_patch16_dinov3.lvd1689m',
        giant='vit_7b_patch16_dinov3.lvd1689m',
    ).items()
}
