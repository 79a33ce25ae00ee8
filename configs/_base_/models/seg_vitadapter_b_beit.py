"""Preset ViT-Adapter-B for segmentation, BEiT weights, crop 512.

Source: ViT-Adapter, segmentation/configs/coco_stuff10k/mask2former_beit_adapter_base_512_40k_*.py:
CLS kept, global attention, one relative-position table a block for 32 x 32 patches. The
original normalises with ImageNet's statistics, although BEiT was pre-trained with mean and standard
deviation 127.5.
"""

_base_ = './seg_vitadapter_b.py'

preset = dict(
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            model_name='beit_base_patch16_224.in22k_ft_in22k',
            img_size=512,
            keep_prefix_tokens=True,
            window_pad='input',
            drop_path_rate=0.2,
            init_values=1e-6,
            pretrained=True,
        ),
        injector_init=1e-6,
    ),
)
