"""Lists over a folder of images: your own, and what MMPretrain has no class for.

data/lists/images/, train.txt, val.txt and test.txt with a path and a label a line, and classes.txt
with the names in the order of the labels; `--data-root` for another.
"""

_base_ = './classification_224.py'

data_root = 'data/lists/'
dataset = dict(type='ListedImages', data_root=data_root, data_prefix=dict(img='images/'))

train_dataloader = dict(dataset=dict(dataset, ann_file='train.txt', pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(dataset, ann_file='val.txt', pipeline=_base_.test_pipeline, test_mode=True)
)
test_dataloader = dict(
    dataset=dict(dataset, ann_file='test.txt', pipeline=_base_.test_pipeline, test_mode=True)
)
