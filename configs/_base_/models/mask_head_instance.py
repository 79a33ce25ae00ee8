"""The same head for COCO's instances: things alone."""

_base_ = './mask_head_panoptic.py'

num_stuff_classes = 0
num_classes = 80

model = dict(
    data_preprocessor=dict(pad_seg=False),
    panoptic_head=dict(
        num_stuff_classes=num_stuff_classes,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),  # the last one is 'no object'
    ),
    panoptic_fusion_head=dict(num_stuff_classes=num_stuff_classes),
    test_cfg=dict(panoptic_on=False),
)
