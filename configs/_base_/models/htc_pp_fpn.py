"""HTC++: HTC with its semantic branch, box heads of four convolutions, and soft-NMS.

What differs from HTC without that branch is written here, the rest comes from its file. Source:
ViT-Adapter, detection/configs/htc++/htc++_beitv2_adapter_large_fpn_3x_coco.py. A config puts
`ExtraAttention` in front of FPN: `neck = [extra_attention, fpn]`.
"""

_base_ = './htc_fpn.py'

model = dict(
    data_preprocessor=dict(pad_seg=True),
    roi_head=dict(
        bbox_head=[
            dict(
                type='Shared4Conv1FCBBoxHead',
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
        semantic_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[8],
        ),
        semantic_head=dict(
            type='FusedSemanticHead',
            num_ins=5,
            fusion_level=1,
            seg_scale_factor=1 / 8,
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=183,  # COCO's ids of things and stuff
            loss_seg=dict(type='CrossEntropyLoss', ignore_index=255, loss_weight=0.2),
        ),
    ),
    test_cfg=dict(
        rcnn=dict(score_thr=0.001, nms=dict(type='soft_nms', iou_threshold=0.5), max_per_img=100)
    ),
)
