"""COCO-Stuff 10K (171 classes).

Layout under `data_root`: images/{train,test}2014/*.jpg and
annotations/{train,test}2014/*_labelTrainIds.png, made by MMSegmentation's
tools/dataset_converters/coco_stuff10k.py. Label 0 is ignored (reduce_zero_label).

`data_root` is copied into every loader when this file is read: to use another folder, give the
tools `--data-root`, since overriding the variable alone changes nothing.
"""

_base_ = './segmentation_512.py'

data_root = 'data/coco_stuff10k/'

train_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=data_root,
        reduce_zero_label=True,
        data_prefix=dict(img_path='images/train2014', seg_map_path='annotations/train2014'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=data_root,
        reduce_zero_label=True,
        data_prefix=dict(img_path='images/test2014', seg_map_path='annotations/test2014'),
    ),
)
test_dataloader = val_dataloader
