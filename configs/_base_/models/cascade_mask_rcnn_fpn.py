"""Cascade Mask R-CNN with FPN and the 4conv1fc box heads of ViT-Adapter.

What differs from Mask R-CNN is written here, the rest comes from its file. The numbers are those of
Cascade Mask R-CNN R50-FPN in MMDetection 2.22 with the box heads that ViT-Adapter puts in
(ViT-Adapter, detection/configs/cascade_rcnn/cascade_mask_rcnn_deit_adapter_small_fpn_3x_coco.py).
"""

_base_ = './mask_rcnn_fpn.py'

# (spread of the box deltas, IoU from which a proposal is an object): one entry a stage.
stages = [
    ([0.1, 0.1, 0.2, 0.2], 0.5),
    ([0.05, 0.05, 0.1, 0.1], 0.6),
    ([0.033, 0.033, 0.067, 0.067], 0.7),
]

model = dict(
    type='CascadeRCNN',
    rpn_head=dict(
        loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=1.0 / 9.0, loss_weight=1.0)
    ),
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                type='ConvFCBBoxHead',
                num_shared_convs=4,
                num_shared_fcs=1,
                in_channels=256,
                conv_out_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=target_stds,
                ),
                reg_class_agnostic=False,
                reg_decoded_bbox=True,
                # The original writes SyncBN, which refuses CPU tensors; the runtime's `sync_bn`
                # makes this one SyncBN under a GPU launcher.
                norm_cfg=dict(type='BN', requires_grad=True),
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
            )
            for target_stds, _ in stages
        ],
    ),
    train_cfg=dict(
        rpn=dict(allowed_border=0),
        rpn_proposal=dict(max_per_img=2000),
        rcnn=[
            dict(
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=iou,
                    neg_iou_thr=iou,
                    min_pos_iou=iou,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=dict(
                    type='RandomSampler',
                    num=512,
                    pos_fraction=0.25,
                    neg_pos_ub=-1,
                    add_gt_as_proposals=True,
                ),
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for _, iou in stages
        ],
    ),
)
del stages
