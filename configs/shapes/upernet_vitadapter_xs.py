"""Quick start of segmentation: a small ViT-Adapter with UperNet on the generated shapes.

Random weights; made for two CPU cores and a quarter of an hour. The backbone is that of the
detection quick start, with segmentation's way of adding the ViT's maps.
"""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/runtime/segmentation.py',
]

width = 64  # of the head; 512 in the ADE20K configs
num_classes = 6  # background and five shapes

model = dict(
    data_preprocessor=dict(size=(192, 192)),
    backbone=dict(
        type='ViTAdapter',
        encoder=dict(
            type='TimmViT',
            model_name='vit_tiny_patch16_224',
            img_size=192,
            embed_dim=96,
            depth=4,
            num_heads=3,
            drop_path_rate=0.0,
        ),
        conv_inplane=32,
        deform_num_heads=3,
        vit_feature='per_stage',
    ),
    decode_head=dict(
        in_channels=[96] * 4, channels=width, dropout_ratio=0.0, num_classes=num_classes
    ),
    auxiliary_head=dict(in_channels=96, channels=width, num_classes=num_classes),
    test_cfg=dict(_delete_=True, mode='whole'),
)

max_iters = 2000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, bypass_duplicate=True),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        T_max=max_iters,
        eta_min_ratio=0.01,
    ),
]

default_hooks = dict(checkpoint=dict(interval=500))
