"""A classifier: a backbone, its read-out, a linear head (MMPretrain's ImageClassifier).

A config sets `backbone`, `neck.in_channels` and `head.in_channels` to its width, and the number of
classes. `neck.num_layers=k` makes MLP-k of the linear head.
"""

model = dict(
    type='ImageClassifier',
    # the names of MMPretrain: images come as BGR; statistics as in DeiT's pre-training
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    neck=dict(type='ReadOut', num_layers=0),
    head=dict(type='LinearClsHead', loss=dict(type='CrossEntropyLoss')),
)
