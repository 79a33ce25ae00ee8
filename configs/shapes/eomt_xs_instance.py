"""EoMT in the quick start's encoder, on the generated shapes.

Objects alone (ours). `make train` trains the encoder; or name another
file: `--cfg-options model.backbone.encoder.pretrained=FILE`.
"""

_base_ = [
    '../_base_/models/mask_head_xs.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/adamw_masks_xs.py',
    '../_base_/runtime/detection_iterations.py',
]

model = _base_.pop('mask_presets').xs.eomt_objects

num_classes = 5
num_stuff_classes = 0
model.data_preprocessor = dict(pad_seg=False)
model.panoptic_head.update(
    num_stuff_classes=num_stuff_classes,
    loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),  # the last one is 'no object'
)
model.panoptic_fusion_head = dict(num_stuff_classes=num_stuff_classes)
model.test_cfg = dict(panoptic_on=False)

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 400],
        end=[300, 700],
    ),
]

train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
default_hooks = dict(checkpoint=dict(interval=500))
