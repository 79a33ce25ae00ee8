"""COCO-Stuff 164K (171 classes), crops of 640.

Layout under `data_root`: images/{train,val}2017/*.jpg and
annotations/{train,val}2017/*_labelTrainIds.png, made by MMSegmentation's
tools/dataset_converters/coco_stuff164k.py.

`data_root` is copied into every loader when this file is read: to use another folder, give the
tools `--data-root`, since overriding the variable alone changes nothing.
"""

_base_ = './segmentation_640.py'

data_root = 'data/coco_stuff164k/'

# segmentation/configs/coco_stuff164k/upernet_beit_adapter_large_640_80k_*.py
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (2560, 640)

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2560, 640)

train_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/train2017', seg_map_path='annotations/train2017'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
