"""COCO 2017 instances with maps of things and stuff, large images: HTC++.

Source: ViT-Adapter, detection/configs/htc++/*.py; shorter sides from 400 to 1400 px. The maps
(`stuffthingmaps_trainval2017.zip`, https://github.com/nightrome/cocostuff#downloads) lie under
`stuffthingmaps/train2017/`. Validation needs none.

The original also pastes jittered instances (InstaBoost, https://arxiv.org/abs/1908.07801): name
`coco_stuff_instance_instaboost.py` in this file's place, and `pip install instaboostfast`.

`tools/test.py --tta` is the original's `*_ms.py`: six sizes, each also flipped, and from each those
boxes alone whose size in the image it is good for (s, m and l are COCO's).
"""

_base_ = './coco_instance.py'

train_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True, with_seg=True),
    dict(type='RandomResize', scale=[(1600, 400), (1600, 1400)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageChecked'),
    dict(type='Resize', scale=(1600, 1400), keep_ratio=True),
    *_base_.test_pipeline[2:],
]

train_dataloader = dict(
    batch_size=1,  # a GPU; the original has 16 of them
    dataset=dict(
        data_prefix=dict(seg='stuffthingmaps/train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

tta_model = dict(
    tta_cfg=dict(
        nms=dict(_delete_=True, type='soft_nms', iou_threshold=0.5, min_score=0.001),
        max_per_img=1000,
        # of the sizes below, in their order
        box_sizes=['l', 'l', 'ml', 'sm', 'sm', 'sm'],
    ),
)
tta_pipeline = [
    dict(type='LoadImageChecked'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(3000, side), keep_ratio=True)
                for side in (600, 800, 1000, 1200, 1400, 1600)
            ],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
