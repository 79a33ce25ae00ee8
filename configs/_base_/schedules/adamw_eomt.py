"""AdamW for EoMT on DINOv3: linear warm-up, then a poly fall; a config adds the length.

Source: EoMT, configs/dinov3/**, training/{lightning_module,two_stage_warmup_poly_schedule}.py and
main.py: total batch 16, float16, gradients clipped hard. There all parameters are decayed, and the
encoder stands still during the head's warm-up, to warm up over 3000 iterations after it; here it
warms up with the head.
"""

_base_ = './adamw_pmt.py'

optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor')

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=2000),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=2000),
]
