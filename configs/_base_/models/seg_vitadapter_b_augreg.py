"""Preset ViT-Adapter-B for segmentation, AugReg-B weights (ImageNet-21k, then 1k at 384 px).

Source: ViT-Adapter, segmentation/configs/ade20k/upernet_augreg_adapter_base_512_160k_ade20k.py.
"""

_base_ = './seg_vitadapter_b.py'

preset = dict(
    # AugReg models were trained on RGB scaled to [-1, 1], and so does the original.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        encoder=dict(
            # B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0--imagenet2012-
            # steps_20k-lr_0.01-res_384.npz; a 24 x 24 position grid (pretrain_size=384)
            model_name='vit_base_patch16_384.augreg_in21k_ft_in1k',
        ),
    ),
)
