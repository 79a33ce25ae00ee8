"""COCO 2017 instances with maps of things and stuff, and InstaBoost.

Needs `pip install instaboostfast`, without which the pipeline cannot be built. Source:
ViT-Adapter, detection/configs/htc++/*.py. As there, the map of things and stuff does not move with
the instances.
"""

_base_ = './coco_stuff_instance.py'

train_pipeline = [
    _base_.train_pipeline[0],
    dict(
        type='InstaBoost',
        action_candidate=('normal', 'horizontal', 'skip'),
        action_prob=(1, 0, 0),
        scale=(0.8, 1.2),
        dx=15,
        dy=15,
        theta=(-1, 1),
        color_prob=0.5,
        hflag=False,
        aug_ratio=0.5,
    ),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
