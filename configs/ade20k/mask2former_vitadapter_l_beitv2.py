"""Mask2Former, ViT-Adapter-L, BEiT v2 weights, crop 640, 160k iterations.

The original has it at crop 896, without a number.
"""

_base_ = './mask2former_vitadapter_l_beit.py'

encoder = dict(model_name='beitv2_large_patch16_224.in1k_ft_in22k')
model = dict(backbone=dict(encoder=encoder))
