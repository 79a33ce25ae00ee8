"""UperNet, ViT-Adapter-L, BEiT v2 weights, crop 640, 160k iterations.

The original has no such model.
"""

_base_ = './upernet_vitadapter_l_beit.py'

encoder = dict(model_name='beitv2_large_patch16_224.in1k_ft_in22k')
model = dict(backbone=dict(encoder=encoder))
