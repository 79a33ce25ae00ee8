"""ISPRS Potsdam (6 classes), cut into tiles of 512.

Layout under `data_root`: img_dir/{train,val}/*.png and ann_dir/{train,val}/*.png, made by
MMSegmentation's tools/dataset_converters/potsdam.py. Label 0 is ignored (reduce_zero_label).

`data_root` is copied into every loader when this file is read: to use another folder, give the
tools `--data-root`, since overriding the variable alone changes nothing.
"""

_base_ = './segmentation_512.py'

data_root = 'data/potsdam/'

train_dataloader = dict(
    dataset=dict(
        type='PotsdamDataset',
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='PotsdamDataset',
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
    ),
)
test_dataloader = val_dataloader
