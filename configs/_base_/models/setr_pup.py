"""SETR-PUP on a plain ViT-L/16, for tuning.

The head is that of SETR-PUP in MMSegmentation (configs/_base_/models/setr_pup.py): four times a
convolution and a resize by two, and three auxiliary heads. VPT's dense experiment (table 3) is on
it, with ImageNet-21k weights.
"""

norm_cfg = dict(type='BN', requires_grad=True)  # SyncBN under a GPU launcher
head = dict(
    type='SETRUPHead',
    in_channels=1024,
    channels=256,
    num_classes=150,
    dropout_ratio=0,
    norm_cfg=norm_cfg,
    kernel_size=3,
    align_corners=False,
)

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # AugReg models see images scaled to [-1, 1].
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type='TunedBackbone',
        backbone=dict(
            type='PlainViT',
            encoder=dict(
                type='TimmViT', model_name='vit_large_patch16_224.augreg_in21k', pretrained=True
            ),
            out_indices=[9, 14, 19, 23],
        ),
        tuning=dict(type='FullTuning'),
    ),
    decode_head=dict(
        in_index=3,
        num_convs=4,
        up_scale=2,
        loss_decode=dict(type='PixelCrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        **head,
    ),
    auxiliary_head=[
        dict(
            in_index=index,
            num_convs=1,
            up_scale=4,
            loss_decode=dict(type='PixelCrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
            **head,
        )
        for index in (0, 1, 2)
    ],
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
del head
