"""An average of what trains, in place of it: the slow learner of LAE, without its ensemble (ours).

LAE (https://arxiv.org/abs/2303.10070) averages over steps with 0.9999; a task has some 50 steps
here.
"""

_base_ = './classifier_vit_xs_shapes.py'

custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.02, priority=49)
]
