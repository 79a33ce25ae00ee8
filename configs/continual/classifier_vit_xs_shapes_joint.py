"""The ten shapes at once: what the tasks could reach at best (ours)."""

_base_ = './classifier_vit_xs_shapes.py'

continual = dict(joint=True)
