"""Mask2Former of MMDetection: things and stuff of COCO, from one set of queries.

Source: ViT-Adapter, detection/configs/mask2former/mask2former_beitv2_adapter_large_16x1_3x_*.py:
pixel decoder, decoder, losses and matching are those of `mask2former.py`. What the numbers of
classes set is the length of `loss_cls.class_weight` too: a config for other data overrides it.
"""

_base_ = './mask2former.py'

num_things_classes = 80
num_stuff_classes = 53
num_classes = num_things_classes + num_stuff_classes

head = _base_.model.decode_head

model = dict(
    _delete_=True,
    type='Mask2Former',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        pad_mask=True,
        mask_pad_value=0,
        pad_seg=True,
        seg_pad_value=255,
    ),
    panoptic_head=dict(
        type='Mask2FormerHead',
        strides=head.strides,
        feat_channels=256,
        out_channels=256,
        num_things_classes=num_things_classes,
        num_stuff_classes=num_stuff_classes,
        num_queries=100,
        num_transformer_feat_level=3,
        enforce_decoder_input_project=False,
        pixel_decoder=head.pixel_decoder,
        positional_encoding=head.positional_encoding,
        transformer_decoder=head.transformer_decoder,
        loss_cls=dict(
            type='CrossEntropyLoss',
            use_sigmoid=False,
            loss_weight=2.0,
            reduction='mean',
            class_weight=[1.0] * num_classes + [0.1],  # the last one is 'no object'
        ),
        loss_mask=head.loss_mask,
        loss_dice=head.loss_dice,
    ),
    panoptic_fusion_head=dict(
        type='MaskFormerFusionHead',
        num_things_classes=num_things_classes,
        num_stuff_classes=num_stuff_classes,
    ),
    train_cfg=head.train_cfg,
    test_cfg=dict(
        panoptic_on=True,
        semantic_on=False,
        instance_on=True,
        max_per_image=100,  # instances
        iou_thr=0.8,  # of a mask's pixels, the share that no other query must have taken
        filter_low_score=True,
    ),
)
del head
