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
load_from = 'work_dirs/continual/classifier_vit_xs_shapes_pretrain/epoch_9.pth'

# Small pictures whose classes vary less than in the scenes, and a ViT for them; why, says the
# config of the pre-training.
model = dict(
    backbone=dict(
        source='average',
        encoder=dict(
            img_size=32, patch_size=4, embed_dim=64, depth=3, num_heads=4, weight_init='jax'
        ),
    ),
    neck=dict(in_channels=64),
    head=dict(num_classes=10, in_channels=64),
)
pictures = dict(size=32, variety=0.1)
# one process draws and trains: a picture takes 2 ms, once
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=32,
    **loading,
    # no mirroring: shapes that stand upright have a side
    dataset=dict(per_class=100, pipeline=_base_.test_pipeline, **pictures),
)
test_dataloader = dict(**loading, dataset=pictures)
# each task is tested at its end, and not before
val_dataloader = val_evaluator = val_cfg = None

max_epochs = 8
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
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
