"""The generated shapes as a panoptic data set: five things, and the background as stuff.

`python tools/dataset/make_shapes.py` makes it; of a set that an earlier version made, the same
command adds what is missing.
"""

_base_ = './shapes_instance.py'

data_root = 'data/shapes/'
metainfo = dict(
    classes=('circle', 'square', 'triangle', 'star', 'cross', 'background'),
    thing_classes=('circle', 'square', 'triangle', 'star', 'cross'),
    stuff_classes=('background',),
    palette=[*_base_.metainfo.palette, (90, 90, 90)],
)

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadPanopticChecked'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='RandomFlip', prob=[0.33, 0.33], direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    # after Resize, so that the ground truth keeps the image's own coordinates; for pictures only
    dict(type='LoadPanopticChecked'),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    dataset=dict(
        type='CocoPanopticDataset',
        metainfo=metainfo,
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='train/', seg='panoptic/train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='CocoPanopticDataset',
        metainfo=metainfo,
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val/', seg='panoptic/val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type='PanopticQuality',
        ann_file=data_root + 'annotations/panoptic_val.json',
        seg_prefix=data_root + 'panoptic/val/',
    ),
    # of the things, as boxes and masks
    dict(
        type='CocoMetric',
        ann_file=data_root + 'annotations/instances_val.json',
        metric=['bbox', 'segm'],
    ),
]
test_evaluator = val_evaluator
