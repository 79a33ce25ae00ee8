"""Images in a folder a class: data/classes/train/<class>/*.jpg and data/classes/val/<class>/*.jpg.

The folders' names are the classes, in the order of the alphabet.
"""

_base_ = './classification_224.py'

data_root = 'data/classes/'

train_dataloader = dict(
    dataset=dict(
        type='ListedImages',
        data_root=data_root,
        data_prefix=dict(img='train/'),
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type='ListedImages',
        data_root=data_root,
        data_prefix=dict(img='val/'),
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
