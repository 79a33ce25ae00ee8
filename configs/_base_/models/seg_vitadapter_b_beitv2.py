"""Preset ViT-Adapter-B for segmentation, BEiT v2 weights, crop 512 (ours).

The preset with BEiT weights; the original has BEiT v2 in its L models alone.
"""

_base_ = './seg_vitadapter_b_beit.py'

preset = dict(
    backbone=dict(encoder=dict(model_name='beitv2_base_patch16_224.in1k_ft_in22k')),
)
