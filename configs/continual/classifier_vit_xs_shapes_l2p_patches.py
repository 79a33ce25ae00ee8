"""L2P whose prompts are images of 8 x 8 pixels, by the patch embedding 4 tokens each (ours)."""

_base_ = './classifier_vit_xs_shapes_l2p.py'

model = dict(backbone=dict(tuning=dict(start='images', length=None, image_size=8)))
