"""All shapes of the scenes at once: what the steps could reach at best (ours)."""

_base_ = './upernet_vitadapter_xs_shapes_3_1.py'

continual = dict(joint=True)
