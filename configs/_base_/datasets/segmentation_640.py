"""Pipelines of semantic segmentation with crops of 640.

Source: ViT-Adapter, segmentation/configs/ade20k/*_640_160k_ade20k_{ss,ms}.py.
"""

_base_ = './segmentation_512.py'

crop_size = (640, 640)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (2048, 640)
train_pipeline[3].crop_size = crop_size

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 640)

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='ResizeShortestEdge', scale=side, max_size=100000)
    for side in (640, 640, 640, 800, 960, 1120)
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
