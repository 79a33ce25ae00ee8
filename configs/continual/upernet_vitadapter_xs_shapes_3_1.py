"""Scenes whose classes come in three steps, 3, 1 and 1, without any protection (ours).

The segmentation quick start's model and data (`python tools/dataset/make_shapes.py` makes them),
with shorter steps. What the other files of this folder change is in them.
"""

_base_ = '../shapes/upernet_vitadapter_xs.py'

continual = dict(groups='3-1', background='background')

max_iters = 800
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters, T_max=max_iters)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=1))
