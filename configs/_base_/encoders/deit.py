"""DeiT (https://arxiv.org/abs/2012.12877), ImageNet-1k, 224 px.

Source: ViT-Adapter, the configs named in the presets.
"""

_base_ = '../models/vit_presets.py'

presets = {
    size: dict.fromkeys(
        (
            *('detection', 'segmentation', 'lite_detection', 'lite_segmentation'),
            *('baseline_detection', 'baseline_segmentation'),
        ),
        # The original has layer scale at 1 in every DeiT and AugReg model.
        dict(backbone=dict(encoder=dict(model_name=name, init_values=1.0))),
    )
    for size, name in dict(
        t='deit_tiny_patch16_224.fb_in1k',  # deit_tiny_patch16_224-a1311bcf.pth
        s='deit_small_patch16_224.fb_in1k',  # deit_small_patch16_224-cd65a155.pth
        b='deit_base_patch16_224.fb_in1k',  # deit_base_patch16_224-b5f2ef4d.pth
    ).items()
}
