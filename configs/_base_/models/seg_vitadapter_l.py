"""Preset ViT-Adapter-L for segmentation, AugReg-L weights.

Source: ViT-Adapter, segmentation/configs/ade20k/upernet_augreg_adapter_large_512_160k_ade20k.py.
"""

_base_ = './seg_vitadapter_s.py'

preset = dict(
    # AugReg models were trained on RGB scaled to [-1, 1], and so does the original.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        encoder=dict(
            # L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--imagenet2012-
            # steps_20k-lr_0.01-res_384.npz; a 24 x 24 position grid (pretrain_size=384)
            model_name='vit_large_patch16_384.augreg_in21k_ft_in1k',
            drop_path_rate=0.4,
            with_cp=True,
        ),
        deform_num_heads=16,
        deform_ratio=0.5,
        with_cp=True,  # blocks and adapter recompute their activations, as in the original
    ),
    decode_head=dict(in_channels=[1024] * 4),
    auxiliary_head=dict(in_channels=1024),
)
