"""Quick start of classification: a small ResNet-18 on the generated shapes, each cut out.

Random weights; made for two CPU cores (`docs/results.md`).
"""

_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/shapes_crops.py',
    '../_base_/runtime/classification.py',
]

model = dict(
    backbone=dict(type='TimmReadOut', model_name='resnet18', channels=(24, 48, 96, 192)),
    neck=dict(in_channels=192),
    head=dict(in_channels=192, num_classes=5),
)

max_epochs = 4
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
