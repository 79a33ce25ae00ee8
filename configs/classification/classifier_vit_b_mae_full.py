"""ViT-B/16 of MAE (ImageNet-1k, without labels), the average of its map.

VPT's code averages before a norm that MAE's file has no weights for; here each token goes through
the pre-trained one before the average.
"""

_base_ = './classifier_deit_b_full.py'

model = dict(backbone=dict(source='average', encoder=dict(model_name='vit_base_patch16_224.mae')))
