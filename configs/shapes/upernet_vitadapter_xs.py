"""Quick start of segmentation: a small ViT-Adapter with UperNet on the generated shapes.

Random weights; made for two CPU cores and a quarter of an hour (`docs/results.md`). Backbone and
learning rates are those of the detection quick start.
"""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/shapes_xs.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/schedules/adamw_cosine_xs.py',
    '../_base_/runtime/segmentation.py',
]

width = 64  # of the head; 512 in the ADE20K configs
num_classes = 6  # background and five shapes
class_weight = [0.25] + [1.0] * 5  # six pixels of seven are background

model = dict(
    data_preprocessor=dict(size=(192, 192)),
    backbone=_base_.pop('backbone'),
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
train_cfg = dict(max_iters=max_iters, val_interval=1250)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters, T_max=max_iters)

train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=500))
