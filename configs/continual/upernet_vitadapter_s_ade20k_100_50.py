"""ADE20K in two steps, 100 classes and then 50, over a frozen DINOv3 encoder.

Published: the split in the order of the labels, `overlap`, mIoU of base, new and all classes
(README.md). Ours: the model and the schedule; that pixels of other steps are ignored, since ADE20K
has no background; after the first step nothing but the rows of new classes trains (DFT*,
https://arxiv.org/abs/2508.04267, with another model).
"""

_base_ = '../ade20k/upernet_vitadapter_s_dinov3_frozen.py'

continual = dict(
    groups='100-50',
    protocol='overlap',
    rows='task',
    freeze_rest=True,
    later=dict(
        train_cfg=dict(max_iters=20000, val_interval=20000),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=500),
            dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=20000),
        ],
        optim_wrapper=dict(optimizer=dict(lr=1e-3)),
    ),
)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
