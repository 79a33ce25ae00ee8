"""Mask2Former, ViT-Adapter-L, BEiT weights, crop 896, 80k iterations.

Published: 59.4 / 60.5 mIoU (single scale / multi-scale), after 80k iterations on COCO-Stuff 164K
(`configs/coco_stuff164k/mask2former_vitadapter_l_beit.py`): give that checkpoint to tools/train.py
with `--load-from`.
"""

_base_ = [
    '../_base_/models/mask2former_wide.py',
    '../_base_/encoders/beit.py',
    '../_base_/datasets/ade20k_896.py',
    '../_base_/schedules/adamw_poly_80k.py',
    '../_base_/runtime/mask2former.py',
]

model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
model.backbone.encoder.img_size = 896
model.data_preprocessor.size = (896, 896)
model.decode_head.num_queries = 200
model.test_cfg = dict(crop_size=(896, 896), stride=(512, 512))

# segmentation/configs/ade20k/mask2former_beit_adapter_large_896_80k_ade20k_ss.py
optim_wrapper = dict(
    optimizer=dict(lr=2e-5, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
)

# 16 GPUs x 1 image.
train_dataloader = dict(batch_size=1)
