"""Ten classes of single shapes in five tasks, without any protection (ours).

The small ViT has seen the other fifteen classes before: first

    python tools/train.py configs/continual/classifier_vit_xs_shapes_pretrain.py

What the other files of this folder change is in them.
"""

_base_ = [
    '../_base_/models/classifier_xs.py',
    '../_base_/datasets/single_shapes.py',
    '../_base_/runtime/classification.py',
]

continual = dict(groups='2-2')
load_from = 'work_dirs/continual/classifier_vit_xs_shapes_pretrain/epoch_30.pth'

model = dict(backbone=dict(source='average'), head=dict(num_classes=10))

max_epochs = 8
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=10),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
