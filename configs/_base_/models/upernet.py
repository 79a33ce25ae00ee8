"""UperNet with an auxiliary FCN head; the backbone comes from a preset of `../encoders`.

The numbers are those of UperNet R50 in MMSegmentation 0.20, on which ViT-Adapter was trained
(ViT-Adapter, segmentation/configs/ade20k/upernet_*.py). The heads expect four maps of one width at
strides 4, 8, 16, 32; `backbone` and the heads' `in_channels` come with the preset.
"""

norm_cfg = dict(type='BN', requires_grad=True)  # SyncBN under a GPU launcher

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # ImageNet statistics, as DeiT was trained with (RGB, 0..255).
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),  # training crops of smaller images are padded to this
    ),
    decode_head=dict(
        type='UPerHead',
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='PixelCrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='PixelCrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
