"""LwF on the outputs, and the last model's labels where the background is labelled (ours).

Pseudo-labels after PLOP (https://arxiv.org/abs/2011.11390), with a threshold on the probability in
place of the entropy's.
"""

_base_ = './upernet_vitadapter_xs_shapes_3_1.py'

continual = dict(
    distill=dict(weight=1.0, temperature=2.0), pseudo_labels=dict(threshold=0.4), logits='seen'
)
