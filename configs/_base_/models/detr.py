"""What DINO and Deformable DETR share: four levels, strides 8 to 64, and how boxes are matched.

The numbers are those of MMDetection's dino-4scale_r50_8xb2-12e_coco.py and
deformable-detr-refine-twostage_r50_16xb2-50e_coco.py. `backbone` and `neck.in_channels` come with
the preset. The number of levels stands in four places: the neck's `num_outs`,
`num_feature_levels`, and `num_levels` of the attention in encoder and decoder.
"""

num_levels = 4

model = dict(
    num_feature_levels=num_levels,
    with_box_refine=True,
    as_two_stage=True,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    neck=dict(
        type='ChosenLevels',
        start_level=1,
        neck=dict(
            type='mmdet.ChannelMapper',
            kernel_size=1,
            out_channels=256,
            act_cfg=None,
            norm_cfg=dict(type='GN', num_groups=32),
            num_outs=num_levels,
        ),
    ),
    encoder=dict(
        num_layers=6,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=256, num_levels=num_levels),
            ffn_cfg=dict(embed_dims=256),
        ),
    ),
    decoder=dict(
        num_layers=6,
        return_intermediate=True,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=256, num_heads=8),
            cross_attn_cfg=dict(embed_dims=256, num_levels=num_levels),
            ffn_cfg=dict(embed_dims=256),
        ),
        post_norm_cfg=None,
    ),
    positional_encoding=dict(num_feats=128, normalize=True),
    bbox_head=dict(
        num_classes=80,
        sync_cls_avg_factor=True,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='GIoULoss', loss_weight=2.0),
    ),
    train_cfg=dict(
        assigner=dict(
            type='HungarianAssigner',
            match_costs=[
                dict(type='FocalLossCost', weight=2.0),
                dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                dict(type='IoUCost', iou_mode='giou', weight=2.0),
            ],
        ),
    ),
)

# Nothing reads the map at stride 4.
find_unused_parameters = True
