"""Mask2Former, ViT-Adapter-L, BEiT weights, crop 512, 40k iterations.

Published: 53.2 / 54.2 mIoU (single scale / multi-scale).
"""

_base_ = [
    '../_base_/models/mask2former_wide.py',
    '../_base_/encoders/beit.py',
    '../_base_/datasets/coco_stuff10k.py',
    '../_base_/schedules/adamw_poly_40k.py',
    '../_base_/runtime/mask2former.py',
]

num_classes = 171
model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
model.backbone.encoder.img_size = 512
model.decode_head.update(
    num_classes=num_classes,
    loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
)

# segmentation/configs/coco_stuff10k/mask2former_beit_adapter_large_512_40k_*.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)
