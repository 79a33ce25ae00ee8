"""SETR-PUP, plain ViT-L, deep visual prompts and biases.

AugReg weights (ImageNet-21k), crop 512, 160k iterations.
"""

_base_ = './setr_pup_vit_l_full.py'

tuning = [
    dict(type='VisualPromptTuning', num_tokens=10, deep=True),
    dict(type='BiasTuning'),
]
model = dict(backbone=dict(tuning=tuning))
