"""AdamW, 100 epochs, 10 of warm-up, a cosine, weight decay 0.01.

VPT's for full tuning, partial tuning, biases and adapters (KMnP/vpt, tune_vtab.py and the paper's
appendix A); of its rates for 256 images a step (1e-4 to 5e-3), 5e-4, at 64 images. `sgd` is VPT's
for linear heads, MLP, side tuning and prompts: of its rates (0.05 to 50, with weight decays of 0 to
0.01) those that its demo has for DMLab and EuroSAT. VPT searches both for every data set. How
Pro-Tuning was trained is not public.
"""

max_epochs = 100
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1.25e-4, weight_decay=0.01)
)
sgd = dict(type='SGD', lr=0.25, momentum=0.9, weight_decay=1e-3)
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=10,
        end=max_epochs,
        T_max=max_epochs - 10,
        convert_to_iter_based=True,
    ),
]
