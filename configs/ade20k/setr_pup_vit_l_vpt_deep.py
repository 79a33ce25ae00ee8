"""SETR-PUP, plain ViT-L, deep visual prompts.

AugReg weights (ImageNet-21k), crop 512, 160k iterations.
"""

_base_ = './setr_pup_vit_l_full.py'

model = dict(
    backbone=dict(tuning=dict(_delete_=True, type='VisualPromptTuning', num_tokens=10, deep=True))
)
