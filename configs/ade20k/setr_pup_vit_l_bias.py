"""SETR-PUP, plain ViT-L, its biases tuned.

AugReg weights (ImageNet-21k), crop 512, 160k iterations.
"""

_base_ = './setr_pup_vit_l_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='BiasTuning')))
