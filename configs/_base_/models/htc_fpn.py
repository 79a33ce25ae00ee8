"""Hybrid Task Cascade (HTC) with FPN, without the semantic branch.

What differs from the cascade is written here, the rest comes from its file. The numbers are those
of HTC R50-FPN without semantic branch in MMDetection (htc_without_semantic_r50_fpn_1x_coco.py): the
box heads are two shared linear layers, one box for all classes, and each stage has its mask head,
fed by the one before it. No annotation beyond COCO's instances is needed. One flag is the cascade's
instead: `match_low_quality=False` in the stages' assigners, which changes next to nothing there
since `min_pos_iou` equals `pos_iou_thr`.
"""

_base_ = './cascade_mask_rcnn_fpn.py'

model = dict(
    type='HybridTaskCascade',
    roi_head=dict(
        type='HybridTaskCascadeRoIHead',
        interleaved=True,
        mask_info_flow=True,
        bbox_head=[
            dict(
                type='Shared2FCBBoxHead',
                in_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=target_stds,
                ),
                reg_class_agnostic=True,
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
            )
            for target_stds in (
                [0.1, 0.1, 0.2, 0.2],
                [0.05, 0.05, 0.1, 0.1],
                [0.033, 0.033, 0.067, 0.067],
            )
        ],
        mask_head=[
            dict(
                type='HTCMaskHead',
                # The first stage has no earlier mask features to take in.
                with_conv_res=stage > 0,
                num_convs=4,
                in_channels=256,
                conv_out_channels=256,
                num_classes=80,
                loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0),
            )
            for stage in range(3)
        ],
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.001)),
)
