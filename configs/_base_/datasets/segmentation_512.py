"""Pipelines and loaders of semantic segmentation with crops of 512: what all data sets share.

Source: ViT-Adapter, segmentation/configs/ade20k/upernet_*_512_160k_ade20k.py and MMSegmentation
0.20's ADE20K file, on which it builds. A data set's own file adds its type, its folders and, where
they differ, its sizes.

Testing resizes the shorter side to the crop's, then both sides to multiples of 32, and slides. With
`--tta` the original takes the ratios 0.5 to 1.75, but never a shorter side below the crop's
(`SETR_Resize`), so that the first three are one and the same size, which counts three times.
"""

crop_size = (512, 512)

# 'pad_shape' is left out: Mask2Former's head would bring every slide window to the whole image's.
meta_keys = ('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'scale_factor')
meta_keys += ('flip', 'flip_direction', 'reduce_zero_label')

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotationsChecked'),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='ResizeToMultiple', size_divisor=32),
    # after the resizing, so that the labels keep the image's own size
    dict(type='LoadAnnotationsChecked'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]

tta_model = dict(type='SegmentationTTAModel')
tta_pipeline = [
    dict(type='LoadImageChecked'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='ResizeShortestEdge', scale=side, max_size=100000)
                for side in (512, 512, 512, 640, 768, 896)
            ],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotationsChecked')],
            [dict(type='PackSegInputs', meta_keys=meta_keys)],
        ],
    ),
]

train_dataloader = dict(
    batch_size=2,  # a GPU; the original has 8 of them
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
