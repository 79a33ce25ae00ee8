"""UperNet, ViT-Adapter-L, BEiT weights, crop 512, 80k iterations.

Published: 51.0 / 51.4 mIoU (single scale / multi-scale).
"""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/beit.py',
    '../_base_/datasets/coco_stuff10k.py',
    '../_base_/schedules/adamw_poly_80k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').l.segmentation
model.backbone.encoder.img_size = 512
model.decode_head.update(channels=1024, num_classes=171)
model.auxiliary_head.num_classes = 171

# segmentation/configs/coco_stuff10k/upernet_beit_adapter_large_512_80k_*.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)
