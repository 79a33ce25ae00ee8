"""COCO 2017 instance segmentation, multi-scale training: the 3x pipeline of ViT-Adapter.

Source: ViT-Adapter, detection/configs/mask_rcnn/*_3x_coco.py. Either a resize of the shorter side
to 480..800, or a resize to 400..600, a crop of 384..600 px and that resize; then a crop of at most
1024 x 1024 (after DETR and Sparse R-CNN). Validation is coco_instance.py's.
"""

_base_ = './coco_instance.py'

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(1333, side) for side in range(480, 801, 32)],
                    keep_ratio=True,
                ),
            ],
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(1333, 400), (1333, 500), (1333, 600)],
                    keep_ratio=True,
                ),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                dict(
                    type='RandomChoiceResize',
                    scales=[(1333, side) for side in range(480, 801, 32)],
                    keep_ratio=True,
                ),
            ],
        ],
    ),
    dict(
        # The original's 'absolute_range' with equal ends: a fixed size, less where the image is.
        type='RandomCrop',
        crop_type='absolute_range',
        crop_size=(1024, 1024),
        allow_negative_crop=True,
    ),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
