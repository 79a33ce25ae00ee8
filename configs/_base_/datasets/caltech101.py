"""Caltech-101 with its background class: data/caltech101/101_ObjectCategories/<class>/*.jpg and
meta/train.txt, meta/test.txt, MMPretrain's lists (30 images a class to train on).
"""

_base_ = './classification_224.py'

data_root = 'data/caltech101/'
num_classes = 102
dataset = dict(type='Caltech101', data_root=data_root)

train_dataloader = dict(dataset=dict(dataset, split='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='test', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
