"""Mask2Former, ViT-Adapter-L, BEiT v2 weights, crop 640, 160k iterations.

The original has it at crop 896 alone, after COCO-Stuff: `mask2former_vitadapter_l_beitv2_896.py`.
"""

_base_ = ['./mask2former_vitadapter_l_beit.py', '../_base_/encoders/beitv2.py']

model = _base_.pop('presets').l.segmentation
del model.auxiliary_head  # Mask2Former has none
