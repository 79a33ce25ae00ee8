"""SGD, 80,000 iterations, poly decay, as MMSegmentation trains its R50 segmentors.

Source: MMSegmentation, configs/_base_/schedules/schedule_80k.py. How Pro-Tuning was trained is not
public; the rate is the same for every tuning method, and wants a search for each.
"""

max_iters = 80000

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=8000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4),
    clip_grad=None,
)

param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=False, begin=0, end=max_iters),
]

# 4 GPUs x 4 images. `--auto-scale-lr` scales the learning rate to another total batch.
auto_scale_lr = dict(enable=False, base_batch_size=16)
