"""EoMT with DINOv3 on COCO: 24 epochs, for sizes S and B.

Source: EoMT, configs/dinov3/coco/panoptic/eomt_{small,base}_640_2x.yaml (annealing).
"""

_base_ = './adamw_eomt_coco.py'

max_iters = 177408
train_cfg = dict(max_iters=max_iters)

optim_wrapper = dict(paramwise_cfg=_base_.pop('layer_rates').b)

param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters)

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 73910, 118256],
        end=[3000, 103474, 147820],
    ),
]
