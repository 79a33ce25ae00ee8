"""All shapes of the scenes at once, a mask for each class: what steps could reach at best."""

_base_ = './mask2former_vitadapter_xs_shapes_3_1.py'

continual = dict(joint=True)
model = dict(decode_head=dict(new_classes=[]))
