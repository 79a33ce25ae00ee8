"""Preset ViT-Adapter-B for detection, DeiT-B weights.

Source: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_deit_adapter_base_fpn_3x_coco.py.
"""

_base_ = './vitadapter_s.py'

preset = dict(
    backbone=dict(
        encoder=dict(
            # deit_base_patch16_224-b5f2ef4d.pth
            model_name='deit_base_patch16_224.fb_in1k',
            drop_path_rate=0.3,
        ),
        deform_num_heads=12,
        deform_ratio=0.5,
    ),
    neck=dict(in_channels=[768] * 4),
)
