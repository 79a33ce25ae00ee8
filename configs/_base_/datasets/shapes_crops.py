"""The generated shapes as a classification set: each object cut out, at 64 pixels.

`python tools/dataset/make_shapes.py` makes the images (`make train` runs that).
"""

_base_ = './classification_224.py'

data_root = 'data/shapes/'
metainfo = dict(classes=('circle', 'square', 'triangle', 'star', 'cross'))

meta_keys = ('img_path', 'img_id', 'crop', 'ori_shape', 'img_shape')  # `crop` is for pictures

train_pipeline = [
    dict(type='LoadImageCrop'),
    dict(type='Resize', scale=(64, 64)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadImageCrop'),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs', meta_keys=meta_keys),
]

dataset = dict(
    type='ObjectCrops',
    data_root=data_root,
    metainfo=metainfo,
    min_size=16,
    margin=0.1,
)
train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        dataset,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        dataset,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
