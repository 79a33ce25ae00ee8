"""AugReg (https://arxiv.org/abs/2106.10270), ImageNet-21k, then ImageNet-1k at 384 px (T: 224).

Source: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_augreg_adapter_large_fpn_3x_coco.py and
segmentation/configs/ade20k/upernet_augreg_adapter_{tiny,base,large}_512_160k_ade20k.py. S, and B in
detection, are ours, with the grid and scaling of images of the L model.
"""

_base_ = '../models/vit_presets.py'

presets = {
    size: dict.fromkeys(
        ('detection', 'segmentation', 'baseline_detection'),
        dict(
            # AugReg models were trained on RGB scaled to [-1, 1], and so does the original.
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
            # The original has layer scale at 1 in every DeiT and AugReg model.
            backbone=dict(encoder=dict(model_name=name, init_values=1.0)),
        ),
    )
    # The position embedding is a 24 x 24 grid (the original's img_size = pretrain_size = 384).
    for size, name in dict(
        s='vit_small_patch16_384.augreg_in21k_ft_in1k',
        # B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0--imagenet2012-
        # steps_20k-lr_0.01-res_384.npz
        b='vit_base_patch16_384.augreg_in21k_ft_in1k',
        # L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--imagenet2012-
        # steps_20k-lr_0.01-res_384.npz
        l='vit_large_patch16_384.augreg_in21k_ft_in1k',
    ).items()
}
# Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03-
# res_224.npz. The original leaves ImageNet's mean and standard deviation in place for this one.
presets['t'] = dict(
    segmentation=dict(
        backbone=dict(
            encoder=dict(model_name='vit_tiny_patch16_224.augreg_in21k_ft_in1k', init_values=1.0)
        )
    )
)
