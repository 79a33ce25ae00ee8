"""ImageNet-R for a model of ImageNet's 1000 classes: data/imagenet-r/<n01443537>/*.jpg."""

_base_ = './imagenet_a.py'

data_root = 'data/imagenet-r/'

test_dataloader = dict(dataset=dict(data_root=data_root))
