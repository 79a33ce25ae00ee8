"""COCO-Stuff 164K (171 classes), crops of 896.

Layout under `data_root`: images/{train,val}2017/*.jpg and
annotations/{train,val}2017/*_labelTrainIds.png, made by MMSegmentation's
tools/dataset_converters/coco_stuff164k.py.

`data_root` is copied into every loader when this file is read: to use another folder, give the
tools `--data-root`, since overriding the variable alone changes nothing.
"""

_base_ = './segmentation_896.py'

data_root = 'data/coco_stuff164k/'

train_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/train2017', seg_map_path='annotations/train2017'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017'),
    ),
)
test_dataloader = val_dataloader
