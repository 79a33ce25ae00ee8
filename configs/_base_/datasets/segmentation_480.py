"""Pipelines of semantic segmentation with crops of 480.

Source: ViT-Adapter, segmentation/configs/pascal_context/*_480_*_pascal_context_59_{ss,ms}.py.
"""

_base_ = './segmentation_512.py'

crop_size = (480, 480)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (520, 520)
train_pipeline[3].crop_size = crop_size

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (4096, 520)

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='ResizeShortestEdge', scale=side, max_size=100000)
    for side in (480, 480, 520, 650, 780, 910)
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
