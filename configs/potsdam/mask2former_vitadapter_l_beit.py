"""Mask2Former, ViT-Adapter-L, BEiT weights, crop 512, 80k iterations.

Published: 80.0 mIoU (single scale).
"""

_base_ = [
    '../_base_/models/mask2former.py',
    '../_base_/encoders/beit.py',
    '../_base_/datasets/potsdam.py',
    '../_base_/schedules/adamw_poly_80k.py',
    '../_base_/runtime/mask2former.py',
]

num_classes = 6
model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
model.backbone.encoder.img_size = 512
model.decode_head.update(
    num_classes=num_classes,
    loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    pixel_decoder=dict(encoder=dict(layer_cfg=dict(ffn_cfg=dict(feedforward_channels=2048)))),
)

# segmentation/configs/potsdam/mask2former_beit_adapter_large_512_80k_potsdam_ss.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)

# 8 GPUs x 1 image.
train_dataloader = dict(batch_size=1)
auto_scale_lr = dict(base_batch_size=8)
