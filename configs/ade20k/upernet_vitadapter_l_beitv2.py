"""UperNet, ViT-Adapter-L, BEiT v2 weights, crop 640, 160k iterations.

The original has no such model.
"""

_base_ = ['./upernet_vitadapter_l_beit.py', '../_base_/encoders/beitv2.py']

model = _base_.pop('presets').l.segmentation
