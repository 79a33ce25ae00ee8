"""AdamW, 160,000 iterations, linear warm-up, then a linear fall to zero, layer-wise decay.

Source: ViT-Adapter, segmentation/configs/ade20k/upernet_deit_adapter_small_512_160k_ade20k.py.
"""

max_iters = 160000

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(num_layers=12, layer_decay_rate=0.95),
    clip_grad=None,
)

# The original's warm-up multiplies the poly rate by a factor that rises from 1e-6 to 1 over the
# first 1500 iterations; schedulers of MMEngine multiply in the same way.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
]

# 8 GPUs x 2 images. `--auto-scale-lr` scales the learning rate to another total batch.
auto_scale_lr = dict(enable=False, base_batch_size=16)
