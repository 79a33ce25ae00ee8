"""UperNet, ViT-Adapter-L, AugReg weights, crop 512, 160k iterations.

`upernet_vitadapter_l`, which has these weights in the original, under a name that tells them.
"""

_base_ = './upernet_vitadapter_l.py'
