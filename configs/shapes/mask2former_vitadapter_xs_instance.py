"""A small Mask2Former with ViT-Adapter on the generated shapes: objects alone.

From random weights, for two CPU cores (ours).
"""

_base_ = [
    '../_base_/models/mask2former_xs.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/runtime/detection_iterations.py',
    '../_base_/schedules/adamw_mask2former_xs.py',
]

num_classes = 5
num_stuff_classes = 0
model = dict(
    data_preprocessor=dict(pad_seg=False),
    panoptic_head=dict(
        num_stuff_classes=num_stuff_classes,
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),  # the last one is 'no object'
    ),
    panoptic_fusion_head=dict(num_stuff_classes=num_stuff_classes),
    test_cfg=dict(panoptic_on=False),
)

train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
default_hooks = dict(checkpoint=dict(interval=600))
