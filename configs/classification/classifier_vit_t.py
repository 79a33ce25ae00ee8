"""A classifier on DeiT-T, its CLS token through a linear head; all of it trains."""

_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/class_folders.py',
    '../_base_/schedules/adamw_classifier.py',
    '../_base_/runtime/classification.py',
]

model = dict(
    backbone=dict(
        type='TokenReadOut',
        source='cls',
        encoder=dict(type='TimmViT', model_name='deit_tiny_patch16_224.fb_in1k', pretrained=True),
    ),
    neck=dict(in_channels=192),
    head=dict(num_classes=10, in_channels=192),
)
