"""L2P whose prompts start as images of the first task, their pixels as the tokens' numbers (ours).

Three tokens of 64 are 8 x 8 pixels of three colours.
"""

_base_ = './classifier_vit_xs_shapes_l2p.py'

model = dict(backbone=dict(tuning=dict(start='images')))
