"""AdamW for PMT: linear warm-up, cosine to almost nothing; a config adds the length.

Source: PMT, image/configs/**/pmt_*.yaml, image/main.py and
image/training/{lightning_module,warmup_cosine_schedule}.py: total batch 16, float16, gradients
clipped hard, all parameters decayed.
"""

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='AutocastOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=0.01),
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=6000),
    dict(type='CosineAnnealingLR', eta_min=1e-9, by_epoch=False, begin=6000),
]

# 8 GPUs x 2 images. `--auto-scale-lr` scales the learning rate to another total batch.
auto_scale_lr = dict(enable=False, base_batch_size=16)
