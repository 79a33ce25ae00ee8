"""A small classifier on the generated shapes' objects, from random weights (ours)."""

_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/shapes_crops.py',
    '../_base_/runtime/classification.py',
]

model = dict(
    backbone=dict(
        type='TokenReadOut',
        source='cls',
        encoder=dict(
            type='TimmViT',
            model_name='vit_tiny_patch16_224',
            img_size=64,
            patch_size=8,
            embed_dim=96,
            depth=4,
            num_heads=3,
        ),
    ),
    neck=dict(in_channels=96),
    head=dict(num_classes=5, in_channels=96),
)

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
