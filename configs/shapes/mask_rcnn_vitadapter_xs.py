"""Quick start: a small ViT-Adapter Mask R-CNN on the generated shapes, from random weights.

Made for two CPU cores and a quarter of an hour (`docs/results.md`). Mask R-CNN is the COCO
configs' own, with narrower heads.
"""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/runtime/detection.py',
]

width = 64  # of FPN and heads; 256 in the COCO configs
norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    backbone=dict(
        type='ViTAdapter',
        encoder=dict(
            type='TimmViT',
            model_name='vit_tiny_patch16_224',
            img_size=192,
            embed_dim=96,
            depth=4,
            num_heads=3,
            drop_path_rate=0.0,
        ),
        conv_inplane=32,
        deform_num_heads=3,
    ),
    neck=dict(in_channels=[96] * 4, out_channels=width, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        # anchors of 12, 24, 48 and 96 pixels
        anchor_generator=dict(scales=[3], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        # 7 to 14 cells of the map for an object (56 on COCO: 14 to 28 cells)
        bbox_roi_extractor=dict(out_channels=width, finest_scale=28),
        bbox_head=dict(
            _delete_=True,
            type='ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            in_channels=width,
            conv_out_channels=width,
            fc_out_channels=256,
            num_classes=5,
            norm_cfg=norm_cfg,
            reg_class_agnostic=True,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0, 0.0, 0.0, 0.0],
                target_stds=[0.1, 0.1, 0.2, 0.2],
            ),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
        mask_roi_extractor=dict(out_channels=width, finest_scale=28),
        mask_head=dict(
            num_convs=2,
            in_channels=width,
            conv_out_channels=width,
            num_classes=5,
            class_agnostic=True,
            norm_cfg=norm_cfg,
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.375)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=50)),
)

max_epochs = 2
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        bypass_duplicate=True,
        # its first layer sums over 3136 inputs, where a step of Adam is felt as often
        custom_keys=dict(shared_fcs=dict(lr_mult=0.3)),
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
