"""The generated shapes as a semantic-segmentation data set: background and the five shapes.

`python tools/dataset/make_shapes.py` makes it (`make train` runs that): 3000 + 300 images of
192 x 192.
"""

_base_ = './segmentation_512.py'

data_root = 'data/shapes/'
metainfo = dict(
    classes=('background', 'circle', 'square', 'triangle', 'star', 'cross'),
    palette=[
        (90, 90, 90),
        (230, 60, 60),
        (60, 130, 240),
        (60, 200, 90),
        (245, 185, 40),
        (185, 80, 220),
    ],
)

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotationsChecked'),
    dict(type='RandomFlip', prob=[0.33, 0.33], direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotationsChecked'),
    dict(type='PackSegInputs', meta_keys=_base_.meta_keys),
]
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='ResizeShortestEdge', scale=side, max_size=1024) for side in (160, 192, 224)
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
