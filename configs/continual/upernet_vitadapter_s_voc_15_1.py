"""Pascal VOC 2012 in six steps, 15 classes and then one at a time, over a frozen DINOv3 encoder.

Published: the split, `overlap`, what is not labelled is background, mIoU of 0-15, 16-20 and all.
Ours: the model and the schedule; after the first step nothing but the rows of the new class trains
(DFT*, https://arxiv.org/abs/2508.04267, with another model), on labels of the last model too.
"""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/dinov3.py',
    '../_base_/datasets/voc2012_aug.py',
    '../_base_/schedules/adamw_poly_40k.py',
    '../_base_/runtime/segmentation.py',
]

continual = dict(
    groups='15-1',
    background='background',
    protocol='overlap',
    rows='task',
    freeze_rest=True,
    pseudo_labels=dict(threshold=0.7),
    later=dict(
        train_cfg=dict(max_iters=5000, val_interval=5000),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=200),
            dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=5000),
        ],
        optim_wrapper=dict(optimizer=dict(lr=1e-3)),
    ),
)

model = _base_.pop('presets').s.frozen_segmentation
model.decode_head.num_classes = 21
model.auxiliary_head.num_classes = 21

optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=12, layer_decay_rate=1.0),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
