"""COCO 2017 panoptic segmentation, multi-scale training.

Source: ViT-Adapter, detection/configs/mask2former/mask2former_beitv2_adapter_large_16x1_3x_*.py:
the detectors' 3x pipeline without its last crop. Layout under `data_root`:
annotations/panoptic_{train,val}2017.json, annotations/panoptic_{train,val}2017/*.png,
annotations/instances_val2017.json, train2017/, val2017/.
"""

_base_ = './coco_instance_ms.py'

data_root = 'data/coco/'

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadPanopticChecked'),
    *_base_.train_pipeline[2:4],  # flips, and sizes at random
    # A crop may leave a box without a pixel of its mask.
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-5, 1e-5), by_mask=True, keep_empty=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    # after Resize, so that the ground truth keeps the image's own coordinates; for pictures only
    dict(type='LoadPanopticChecked'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CocoPanopticDataset',
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='CocoPanopticDataset',
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type='PanopticQuality',
        ann_file=data_root + 'annotations/panoptic_val2017.json',
        seg_prefix=data_root + 'annotations/panoptic_val2017/',
    ),
    # of the things, as boxes and masks
    dict(
        type='CocoMetric',
        ann_file=data_root + 'annotations/instances_val2017.json',
        metric=['bbox', 'segm'],
        format_only=False,
    ),
]
test_evaluator = val_evaluator

del _base_.tta_model, _base_.tta_pipeline  # they merge instances alone
