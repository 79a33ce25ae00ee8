"""A pool beside a generator that is held by what it was after the last task (ours)."""

_base_ = './classifier_vit_xs_shapes_pooled.py'

model = dict(backbone=dict(tuning=dict(generator=dict(lwf_weight=1.0))))
