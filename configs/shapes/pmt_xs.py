"""PMT's decoder on the quick start's frozen encoder, on the generated shapes.

Classes: background and shapes (ours). `make train` trains the encoder; or name another
file: `--cfg-options model.backbone.encoder.pretrained=FILE`.
"""

_base_ = [
    '../_base_/models/mask_head.py',
    '../_base_/models/mask_presets.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/schedules/adamw_masks_xs.py',
    '../_base_/runtime/mask2former.py',
]

model = _base_.pop('mask_presets').xs.pmt_semantic

num_classes = 6  # background and five shapes
model.data_preprocessor = dict(size=(192, 192))
model.decode_head.update(
    num_classes=num_classes,
    num_queries=20,
    loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),  # the last one is 'no object'
    train_cfg=dict(num_points=2304),  # all pixels of the masks, which are 48 x 48
)
model.test_cfg = dict(_delete_=True, mode='whole')

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 300, 500],
        end=[200, 500, 700],
    ),
]

train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=500))
