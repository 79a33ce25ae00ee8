"""The generated shapes as a data set of boxes, and nothing else."""

_base_ = './shapes_instance.py'

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True),
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    *_base_.test_pipeline[:2],
    dict(type='LoadAnnotations', with_bbox=True),
    *_base_.test_pipeline[3:],
]

train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler'), dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
