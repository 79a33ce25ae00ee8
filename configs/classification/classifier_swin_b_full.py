"""Swin-B (ImageNet-1k), 224 px.

All of it trains; IMAGE_SET chooses the data set.
"""

_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/{{$IMAGE_SET:cifar100}}.py',
    '../_base_/schedules/adamw_classifier.py',
    '../_base_/runtime/classification.py',
]

model = dict(
    backbone=dict(
        type='TunedBackbone',
        backbone=dict(
            type='TimmReadOut', model_name='swin_base_patch4_window7_224.ms_in1k', pretrained=True
        ),
        tuning=dict(type='FullTuning'),
    ),
    neck=dict(in_channels=1024),
    head=dict(num_classes=_base_.num_classes, in_channels=1024),
)

# Beside every checkpoint a small one with what was tuned.
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
