"""What every run shares, whichever the toolbox."""

custom_imports = dict(imports=['vitadapter_dense'], allow_failed_imports=False)

# Checked loading, atomic saving, exact resume, several processes without a GPU.
runner_type = 'DenseRunner'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    # None: a hundredth of the run, at most 50 iterations, and some lines early.
    logger=dict(type='PacedLoggerHook', interval=None),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Writes the new file whole before the old one goes.
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=3, save_last=True),
    # A step with NaN or infinite gradients changes nothing; the third within 50 ends the run.
    finite=dict(type='FiniteLossHook', max_steps=3, within=50),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)

# Options; put what you want into your config:
# - an exponential moving average of the weights, evaluated in place of the weights:
#   custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=2e-4, priority=49)]
# - an end to training when nothing improves (`min_delta` is in the metric's units, and mmengine's
#   default of 0.1 is 10 points of AP):
#   custom_hooks = [dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', rule='greater',
#                        min_delta=0.001, patience=5)]

env_cfg = dict(
    # Image sizes change from batch to batch, for which cuDNN's search costs more than it gains.
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # the tools choose gloo where there is no GPU
)

# Makes every BN of the model SyncBN when a launcher has started several GPU processes.
sync_bn = 'torch'

# A run can be repeated; `--seed` takes another one.
randomness = dict(seed=0, deterministic=False)

log_level = 'INFO'
load_from = None
resume = False
