"""ResNet-101, torchvision's first weights (ImageNet-1k)."""

_base_ = './classifier_r50_full.py'

model = dict(backbone=dict(backbone=dict(model_name='resnet101.tv_in1k')))
