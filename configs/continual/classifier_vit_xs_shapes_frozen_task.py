"""A frozen encoder whose new rows learn beside those of their own task alone (ours).

As L2P masks them: old rows, which do not move, pull at nothing.
"""

_base_ = './classifier_vit_xs_shapes_frozen.py'

continual = dict(logits='task')
