"""EoMT with DINOv3 on COCO: 12 epochs, for size L.

Source: EoMT, configs/dinov3/coco/panoptic/eomt_large_640.yaml (annealing).
"""

_base_ = './adamw_eomt_coco.py'

max_iters = 88704
train_cfg = dict(max_iters=max_iters)

optim_wrapper = dict(paramwise_cfg=_base_.pop('layer_rates').l)

param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters)

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 29564, 44346, 59128],
        end=[3000, 44346, 59128, 73910],
    ),
]
