"""Mask2Former, ViT-Adapter-L, BEiT v2 weights, crop 896, 80k iterations.

Published: 52.3 mIoU (single scale).
"""

_base_ = ['./mask2former_vitadapter_l_beit.py', '../_base_/encoders/beitv2.py']

# segmentation/configs/coco_stuff164k/mask2former_beitv2_adapter_large_896_80k_*.py
model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
model.backbone.encoder.img_size = 896
