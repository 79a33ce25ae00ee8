"""Scenes whose classes come in three steps, 3, 1 and 1, without any protection (ours).

The segmentation quick start's model, data (`python tools/dataset/make_shapes.py` makes them) and
schedule, and two shorter steps. What the other files of this folder change is in them.
"""

_base_ = ['../shapes/upernet_vitadapter_xs.py', '../_base_/schedules/short_steps_xs.py']

continual = dict(groups='3-1', background='background')

train_cfg = dict(val_interval=_base_.max_iters)
default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=1))
