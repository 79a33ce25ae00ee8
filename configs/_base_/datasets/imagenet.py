"""ImageNet's 1000 classes: data/imagenet/train/<n01440764>/*.JPEG and val/<n01440764>/*.JPEG."""

_base_ = './class_folders.py'

data_root = 'data/imagenet/'
num_classes = 1000

train_dataloader = dict(dataset=dict(data_root=data_root, folders='imagenet'))
val_dataloader = dict(dataset=dict(data_root=data_root, folders='imagenet'))
test_dataloader = val_dataloader
