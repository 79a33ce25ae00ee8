"""The generated shapes with boxes, masks and label maps: background and shapes."""

_base_ = './shapes_instance.py'

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True, with_seg=True),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler'),
    dataset=dict(data_prefix=dict(seg='semantic/train/'), pipeline=train_pipeline),
)
