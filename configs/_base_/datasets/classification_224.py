"""Images with one label each, at 224 pixels: pipelines, loaders and metric of classifiers.

The pipelines are VPT's for FGVC (KMnP/vpt, src/data/datasets/json_dataset.py): for training a
random crop of 224 out of 256 and a flip, for testing the centre. A config puts `dataset` in.
"""

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='RandomCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassAccuracy')
test_evaluator = val_evaluator
