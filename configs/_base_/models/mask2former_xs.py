"""A small Mask2Former with ViT-Adapter for the generated shapes: things and background (ours).

The backbone is that of the detection quick start.
"""

_base_ = ['./mask2former_panoptic.py', './mask2former_xs_head.py', '../encoders/shapes_xs.py']

num_classes = 6  # five shapes and the background

model = dict(
    backbone=_base_.pop('backbone'),
    panoptic_head=dict(
        _base_.pop('mask2former_xs_head'),
        num_things_classes=5,
        num_stuff_classes=1,
    ),
    panoptic_fusion_head=dict(num_things_classes=5, num_stuff_classes=1),
    train_cfg=dict(num_points=2304),  # all pixels of the masks, which are 48 x 48
    test_cfg=dict(max_per_image=20),
)
