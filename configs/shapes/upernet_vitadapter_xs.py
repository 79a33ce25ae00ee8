"""Quick start of segmentation: a small ViT-Adapter with UperNet on the generated shapes.

Random weights; made for two CPU cores and a quarter of an hour (`docs/results.md`). Backbone and
learning rates are those of the detection quick start.
"""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/runtime/segmentation.py',
]

width = 64  # of the head; 512 in the ADE20K configs
num_classes = 6  # background and five shapes
class_weight = [0.25] + [1.0] * 5  # six pixels of seven are background

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
        interaction_indexes=[[0, 1], [2, 3]],
        conv_inplane=32,
        deform_num_heads=3,
        use_extra_extractor=False,
        zero_init_extractors=True,
    ),
    decode_head=dict(
        in_channels=[96] * 4,
        channels=width,
        dropout_ratio=0.0,
        num_classes=num_classes,
        loss_decode=dict(class_weight=class_weight),
    ),
    auxiliary_head=dict(
        in_channels=96,
        channels=width,
        num_classes=num_classes,
        loss_decode=dict(class_weight=class_weight),
    ),
    test_cfg=dict(_delete_=True, mode='whole'),
)

max_iters = 2500
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=1250)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        bypass_duplicate=True,
        custom_keys={
            'backbone.encoder': dict(lr_mult=0.25),
            'backbone.interactions': dict(lr_mult=0.25),
        },
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        T_max=max_iters,
        eta_min_ratio=0.01,
    ),
]

train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=500))
