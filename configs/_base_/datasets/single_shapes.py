"""Single generated shapes at 64 pixels, drawn when they are first loaded: ten of `SingleShapes`.

Nothing needs to be on the disk.
"""

_base_ = './classification_224.py'

classes = [
    'circle-rings',
    'square-checker',
    'triangle-stripes',
    'star-dots',
    'cross-zigzag',
    'circle-checker',
    'square-stripes',
    'triangle-dots',
    'star-zigzag',
    'cross-rings',
]

train_pipeline = [
    dict(type='DrawShape', keep=True),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='DrawShape', keep=True), dict(type='PackInputs')]

train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        type='SingleShapes', per_class=200, classes=classes, seed=0, pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        type='SingleShapes',
        per_class=40,
        classes=classes,
        seed=1,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
