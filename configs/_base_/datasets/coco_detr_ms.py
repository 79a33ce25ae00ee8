"""COCO 2017 boxes for DETR-type detectors: images without objects are trained on, too.

Source: MMDetection's dino-4scale_r50_8xb2-12e_coco.py. Before its crop, an image's longer side may
be as long as its shorter side makes it; nothing is cut to 1024 px after.
"""

_base_ = './coco_detection_ms.py'

train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomCrop']
train_pipeline[3].transforms[1][0].scales = [(4200, 400), (4200, 500), (4200, 600)]
train_dataloader = dict(
    dataset=dict(filter_cfg=dict(filter_empty_gt=False), pipeline=train_pipeline)
)
