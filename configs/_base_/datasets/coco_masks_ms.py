"""COCO 2017 instances for heads that learn masks from masks, without boxes: Mask2Former's kind.

The 3x pipeline, and nothing is learnt of which a crop has left no pixel.
"""

_base_ = './coco_instance_ms.py'

train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-5, 1e-5), by_mask=True, keep_empty=False),
    _base_.train_pipeline[-1],
]
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
