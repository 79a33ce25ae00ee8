"""Oxford Flowers, 102 classes: data/flowers102/jpg/*.jpg, imagelabels.mat and setid.mat.

10 images a class to train on and 10 to choose by; `--cfg-options
train_dataloader.dataset.split=trainval` trains on both.
"""

_base_ = './classification_224.py'

data_root = 'data/flowers102/'
num_classes = 102
classes = [str(number) for number in range(1, 103)]  # MMPretrain has no names for them
dataset = dict(type='Flowers102', data_root=data_root, metainfo=dict(classes=classes))

train_dataloader = dict(dataset=dict(dataset, split='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='val', pipeline=_base_.test_pipeline))
test_dataloader = dict(dataset=dict(dataset, split='test', pipeline=_base_.test_pipeline))
