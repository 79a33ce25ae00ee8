"""ADE20K (SceneParsing, 150 classes), crops of 896.

Layout under `data_root`, as in ADEChallengeData2016: images/{training,validation}/*.jpg and
annotations/{training,validation}/*.png, where 0 is 'other' and is ignored (reduce_zero_label).

`data_root` is copied into every loader when this file is read: to use another folder, give the
tools `--data-root`, since overriding the variable alone changes nothing.
"""

_base_ = './segmentation_896.py'

data_root = 'data/ade/ADEChallengeData2016/'

train_dataloader = dict(
    dataset=dict(
        type='ADE20KDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='ADE20KDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
    ),
)
test_dataloader = val_dataloader
