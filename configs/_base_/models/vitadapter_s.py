"""Preset ViT-Adapter-S for detection, DeiT-S weights: `model = _base_.preset` in a config.

Source of every number: ViT-Adapter,
detection/configs/mask_rcnn/mask_rcnn_deit_adapter_small_fpn_3x_coco.py. What all sizes share is the
default of `ViTAdapter`: four interactions over equal spans of blocks, `conv_inplane=64`,
`n_points=4`, `cffn_ratio=0.25`, the last ViT map added to all levels.
"""

preset = dict(
    backbone=dict(
        type='ViTAdapter',
        encoder=dict(
            type='TimmViT',
            # deit_small_patch16_224-cd65a155.pth, by its name on timm's hub
            model_name='deit_small_patch16_224.fb_in1k',
            pretrained=True,
            # two windowed blocks, then a global one
            window_sizes=[14, 14, None] * 4,
            drop_path_rate=0.2,
            # The original has layer scale at 1 in every DeiT and AugReg model.
            init_values=1.0,
        ),
        deform_num_heads=6,
        deform_ratio=1.0,
        # BN here is SyncBN under a GPU launcher: `sync_bn` in the runtime.
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
    neck=dict(in_channels=[384] * 4),
)
