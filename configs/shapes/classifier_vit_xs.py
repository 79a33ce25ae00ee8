"""A small classifier on the generated shapes' objects, from random weights (ours)."""

_base_ = [
    '../_base_/models/classifier_xs.py',
    '../_base_/datasets/shapes_crops.py',
    '../_base_/runtime/classification.py',
]

model = dict(backbone=dict(source='cls'), head=dict(num_classes=5))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=4, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', by_epoch=True, begin=0, end=4, T_max=4, convert_to_iter_based=True
    ),
]
