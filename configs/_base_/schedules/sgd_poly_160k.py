"""SGD, 160,000 iterations, poly decay, as MMSegmentation trains SETR.

Source: MMSegmentation, configs/_base_/schedules/schedule_160k.py and configs/setr; its larger rate
of the head is not here, since tuning methods are to be compared at one rate each.
"""

_base_ = './sgd_poly_80k.py'

max_iters = 160000

train_cfg = dict(max_iters=max_iters, val_interval=16000)

param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=False, begin=0, end=max_iters),
]
