"""Preset ViT-Adapter-L for segmentation, BEiT weights, crop 640.

Source: ViT-Adapter, segmentation/configs/ade20k/*_beit_adapter_large_640_160k_ade20k_ss.py: CLS
kept, global attention, one relative-position table a block for 40 x 40 patches. The
original normalises with ImageNet's statistics, although BEiT was pre-trained with mean and standard
deviation 127.5.
"""

_base_ = './seg_vitadapter_l.py'

preset = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            model_name='beit_large_patch16_224.in22k_ft_in22k',
            img_size=640,
            keep_prefix_tokens=True,
            window_pad='input',
            drop_path_rate=0.3,
            init_values=1e-6,
            pretrained=True,
            with_cp=True,
        ),
        injector_init=1e-6,
    ),
)
