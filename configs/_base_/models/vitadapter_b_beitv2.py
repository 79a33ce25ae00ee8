"""Preset ViT-Adapter-B for detection, BEiT v2 weights.

Source: ViT-Adapter, detection/configs/htc++/*_beitv2_*_large_*.py and
segmentation/configs/*/*_beit_*_base_*.py (drop path); windows of 56 act as global attention.
"""

_base_ = './vitadapter_b.py'

preset = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            # ImageNet-1k, fine-tuned on ImageNet-22k
            model_name='beitv2_base_patch16_224.in1k_ft_in22k',
            pretrained=True,
            # The table of each block is resampled to its window.
            window_sizes=[14, 14, 56] * 4,
            window_pad='input',
            drop_path_rate=0.2,
            init_values=1e-6,
        ),
        injector_init=1e-6,
    ),
)
