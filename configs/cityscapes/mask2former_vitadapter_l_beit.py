"""Mask2Former, ViT-Adapter-L, BEiT weights, crop 896, 80k iterations.

Published: 84.9 / 85.8 mIoU (single scale / multi-scale), after 80k iterations on Mapillary Vistas:
the original starts from that checkpoint. Give it to tools/train.py with `--load-from`.
"""

_base_ = [
    '../_base_/models/mask2former_wide.py',
    '../_base_/encoders/beit.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/adamw_poly_80k.py',
    '../_base_/runtime/mask2former.py',
]

num_classes = 19
model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
model.backbone.encoder.img_size = 896
model.data_preprocessor.size = (896, 896)
model.decode_head.update(
    num_classes=num_classes,
    loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
)
model.test_cfg = dict(crop_size=(896, 896), stride=(512, 512))

# segmentation/configs/cityscapes/mask2former_beit_adapter_large_896_80k_cityscapes_ss.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)

# 16 GPUs x 1 image.
train_dataloader = dict(batch_size=1)
