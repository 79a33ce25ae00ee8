"""A small mask head of ours in MMDetection for the generated shapes; a preset adds the rest."""

_base_ = './mask_head_panoptic.py'

num_classes = 6  # five shapes and the background

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    panoptic_head=dict(
        num_things_classes=5,
        num_stuff_classes=1,
        num_queries=20,  # an image has at most eight objects
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),  # the last one is 'no object'
    ),
    panoptic_fusion_head=dict(num_things_classes=5, num_stuff_classes=1),
    train_cfg=dict(num_points=2304),  # all pixels of the masks, which are 48 x 48
    test_cfg=dict(max_per_image=20),
)
