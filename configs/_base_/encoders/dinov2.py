"""DINOv2 (https://arxiv.org/abs/2304.07193), LVD-142M, patches of 14 pixels, positions 37 x 37.

Detection is at the patch size 16 of the original, ViT-Adapter's
detection/configs/mask_rcnn/dinov2/*.py: patches resampled from 14 to 16, positions read as a 37 x
37 grid (`pretrain_size=592`). The hub's weights are resampled by timm; for the original's bilinear
resampling convert Meta's file with tools/convert/official_checkpoint.py and `--patch-size 16`.
Segmentation and the frozen encoder are ours: patches as they were pre-trained, CLS kept.
"""

_base_ = '../models/vit_presets.py'

presets = {
    size: dict(
        detection=dict(
            backbone=dict(
                encoder=dict(model_name=name, patch_size=16, img_size=592, init_values=1.0)
            )
        ),
        **dict.fromkeys(
            ('segmentation', 'frozen_detection', 'frozen_segmentation'),
            dict(backbone=dict(encoder=dict(model_name=name, keep_prefix_tokens=True))),
        ),
    )
    for size, name in dict(
        s='vit_small_patch14_dinov2.lvd142m',
        b='vit_base_patch14_dinov2.lvd142m',
        l='vit_large_patch14_dinov2.lvd142m',
    ).items()
}
