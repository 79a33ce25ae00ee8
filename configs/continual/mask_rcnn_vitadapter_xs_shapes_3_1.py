"""Objects of shapes that come in three steps, 3, 1 and 1, without any protection (ours).

The detection quick start's model, data and schedule, and two shorter steps.
"""

_base_ = ['../shapes/mask_rcnn_vitadapter_xs.py', '../_base_/schedules/short_steps_xs.py']

continual = dict(groups='3-1')

default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=1))
