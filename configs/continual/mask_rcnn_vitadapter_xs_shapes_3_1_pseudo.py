"""The last model's objects of earlier classes are labels, too (ours)."""

_base_ = './mask_rcnn_vitadapter_xs_shapes_3_1.py'

continual = dict(pseudo_labels=dict(threshold=0.7))
