"""Mask2Former, ViT-Adapter-L, BEiT v2 weights, crop 896, 80k iterations.

Published: 52.3 mIoU (single scale).
"""

_base_ = './mask2former_vitadapter_l_beit.py'

# segmentation/configs/coco_stuff164k/mask2former_beitv2_adapter_large_896_80k_*.py
encoder = dict(model_name='beitv2_large_patch16_224.in1k_ft_in22k')
model = dict(backbone=dict(encoder=encoder))
