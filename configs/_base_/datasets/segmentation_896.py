"""Pipelines of semantic segmentation with crops of 896.

Source: ViT-Adapter, segmentation/configs/{ade20k,coco_stuff164k}/*_896_80k_*.py. Its multi-scale
test takes shorter sides of 640, 768 and 896 and pads the smaller ones to 896; here nothing needs
padding.
"""

_base_ = './segmentation_512.py'

crop_size = (896, 896)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (3584, 896)
train_pipeline[3].crop_size = crop_size

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (3584, 896)

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='ResizeShortestEdge', scale=side, max_size=100000) for side in (640, 768, 896)
]
tta_pipeline[1].transforms.insert(1, [dict(type='ResizeToMultiple', size_divisor=32)])

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
