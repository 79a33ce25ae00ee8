"""Mask2Former of MMDetection for COCO's instances: things alone.

Source: MMDetection, configs/mask2former/mask2former_r50_8xb2-lsj-50e_coco.py, whose head is the
panoptic one without stuff. ViT-Adapter released the panoptic model alone.
"""

_base_ = './mask2former_panoptic.py'

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
