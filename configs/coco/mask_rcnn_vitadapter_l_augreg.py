"""Mask R-CNN, ViT-Adapter-L, AugReg weights, 3x with multi-scale training.

`mask_rcnn_vitadapter_l`, which has these weights in the original, under a name that tells them.
"""

_base_ = './mask_rcnn_vitadapter_l.py'
