"""UperNet, ViT-Adapter-L, BEiT weights, crop 480, 80k iterations.

Published: 67.0 / 67.5 mIoU (single scale / multi-scale).
"""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/beit.py',
    '../_base_/datasets/pascal_context_59.py',
    '../_base_/schedules/adamw_poly_80k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').l.segmentation
model.backbone.encoder.img_size = 480
model.decode_head.update(channels=1024, num_classes=59)
model.auxiliary_head.num_classes = 59
model.data_preprocessor.size = (480, 480)
model.test_cfg = dict(crop_size=(480, 480), stride=(320, 320))

# segmentation/configs/pascal_context/upernet_beit_adapter_large_480_80k_*.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)
