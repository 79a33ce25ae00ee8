"""AdamW, 40,000 iterations; the rest as with 160,000.

Source: ViT-Adapter, segmentation/configs/*/*_40k_*.py.
"""

_base_ = './adamw_poly_160k.py'

max_iters = 40000

train_cfg = dict(max_iters=max_iters, val_interval=4000)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
]
