"""ViT-B/16 (ImageNet-21k), the weights before AugReg, as in VPT (ViT-B_16.npz of imagenet21k).

VPT's code gives this model images with ImageNet's mean and deviation, and so does this.
"""

_base_ = './classifier_deit_b_full.py'

model = dict(backbone=dict(encoder=dict(model_name='vit_base_patch16_224.orig_in21k')))
