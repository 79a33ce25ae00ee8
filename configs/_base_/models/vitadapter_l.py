"""Preset ViT-Adapter-L for detection, AugReg-L weights.

Source: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_augreg_adapter_large_fpn_3x_coco.py. Set
`backbone.encoder.with_cp=True` to trade time for memory; the original does not.
"""

_base_ = './vitadapter_s.py'

preset = dict(
    # AugReg models were trained on RGB scaled to [-1, 1], and so does the original.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        encoder=dict(
            # L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1--imagenet2012-
            # steps_20k-lr_0.01-res_384.npz: ImageNet-21k, then ImageNet-1k at 384 px. The position
            # embedding is a 24x24 grid (the original's img_size = pretrain_size = 384).
            model_name='vit_large_patch16_384.augreg_in21k_ft_in1k',
            # five windowed blocks, then a global one
            window_sizes=[14, 14, 14, 14, 14, None] * 4,
            drop_path_rate=0.4,
        ),
        deform_num_heads=16,
        deform_ratio=0.5,
    ),
    neck=dict(in_channels=[1024] * 4),
)
