"""DeiT-S (ImageNet-1k), 224 px.

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
        type='TokenReadOut',
        source='cls',
        encoder=dict(
            type='TimmViT',
            model_name='deit_small_patch16_224.fb_in1k',
            pretrained=True,
        ),
        tuning=dict(type='FullTuning'),
    ),
    neck=dict(in_channels=384),
    head=dict(num_classes=_base_.num_classes, in_channels=384),
)

# Beside every checkpoint a small one with what was tuned.
default_hooks = dict(checkpoint=dict(type='TunedCheckpointHook'))
