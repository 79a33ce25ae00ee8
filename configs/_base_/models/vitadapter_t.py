"""Preset ViT-Adapter-T for detection, DeiT-T weights.

Source: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_deit_adapter_tiny_fpn_3x_coco.py.
"""

_base_ = './vitadapter_s.py'

preset = dict(
    backbone=dict(
        encoder=dict(
            # deit_tiny_patch16_224-a1311bcf.pth
            model_name='deit_tiny_patch16_224.fb_in1k',
            drop_path_rate=0.1,
        ),
    ),
    neck=dict(in_channels=[192] * 4),
)
