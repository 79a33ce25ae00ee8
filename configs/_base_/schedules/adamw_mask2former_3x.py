"""AdamW, 265,500 iterations of 16 images (36 epochs of COCO), steps, hard clipping, EMA.

Source: ViT-Adapter, detection/configs/mask2former/mask2former_beitv2_adapter_large_16x1_3x_*.py.
Its warm-up has a factor of 1, that is none.
"""

max_iters = 265500

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(num_layers=24, layer_decay_rate=0.90),
    clip_grad=dict(max_norm=0.01),
)

param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        milestones=[191750, 236000],
        gamma=0.1,
    ),
]

# What is evaluated is the average.
custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=1e-4, priority=49)]

# The original: 16 GPUs x 1 image. `--auto-scale-lr` scales the rate to another total batch.
auto_scale_lr = dict(enable=False, base_batch_size=16)
