"""UperNet, ViT-Adapter-L, AugReg-L weights, crop 640, 80k iterations.

The original published this model with BEiT-L weights (`upernet_vitadapter_l_beit`). What comes with
the weights, normalisation and drop path, is that of AugReg; all else is as it was there.
"""

_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/encoders/augreg.py',
    '../_base_/datasets/coco_stuff164k_640.py',
    '../_base_/schedules/adamw_poly_80k.py',
    '../_base_/runtime/segmentation.py',
]

model = _base_.pop('presets').l.segmentation
model.decode_head.update(channels=1024, num_classes=171)
model.auxiliary_head.num_classes = 171
model.data_preprocessor.size = (640, 640)
model.test_cfg = dict(crop_size=(640, 640), stride=(426, 426))

# segmentation/configs/coco_stuff164k/upernet_beit_adapter_large_640_80k_*.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)
