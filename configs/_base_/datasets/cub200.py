"""CUB-200-2011: data/cub200/images/, images.txt, image_class_labels.txt, train_test_split.txt.

VPT takes a tenth of the 5,994 training images for validation (KMnP/vpt, README, its splits).
"""

_base_ = './classification_224.py'

data_root = 'data/cub200/'
num_classes = 200
dataset = dict(type='CUB', data_root=data_root)

train_dataloader = dict(dataset=dict(dataset, split='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='test', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
