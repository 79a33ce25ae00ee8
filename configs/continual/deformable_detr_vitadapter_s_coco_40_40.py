"""COCO in two steps of 40 classes.

Published: the split in the order of the categories, objects of other steps are background, AP of
all classes. Ours: the model and the schedule; after the first step nothing but the rows of new
classes trains.
"""

_base_ = '../coco/deformable_detr_vitadapter_s.py'

continual = dict(
    groups='40-40',
    protocol='overlap',
    rows='task',
    freeze_rest=True,
    later=dict(
        train_cfg=dict(max_epochs=12, val_interval=12),
        param_scheduler=[dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[9])],
    ),
)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
