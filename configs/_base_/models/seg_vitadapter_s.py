"""Preset ViT-Adapter-S for segmentation, DeiT-S weights: `model = _base_.preset` in a config.

Source of every number: ViT-Adapter,
segmentation/configs/ade20k/upernet_deit_adapter_small_512_160k_ade20k.py. What differs from
detection: no windows, and the ViT's map after interaction i is added to level i. A model without
auxiliary head takes `preset.backbone` and `preset.decode_head` alone.
"""

preset = dict(
    backbone=dict(
        type='ViTAdapter',
        encoder=dict(
            type='TimmViT',
            # deit_small_patch16_224-cd65a155.pth, by its name on timm's hub
            model_name='deit_small_patch16_224.fb_in1k',
            pretrained=True,
            drop_path_rate=0.2,
            # The original has layer scale at 1 in every DeiT and AugReg model.
            init_values=1.0,
        ),
        deform_num_heads=6,
        deform_ratio=1.0,
        vit_feature='per_stage',
        # BN here is SyncBN under a GPU launcher: `sync_bn` in the runtime.
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
    decode_head=dict(in_channels=[384] * 4),
    auxiliary_head=dict(in_channels=384),
)
