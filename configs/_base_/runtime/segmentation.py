"""The runtime of MMSegmentation models: scope, iterations for epochs, the best checkpoint."""

_base_ = './common.py'

default_scope = 'mmseg'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=4000, save_best='mIoU', rule='greater'),
    # A label or a number of classes that does not fit ends a run with the file's name.
    check_labels=dict(type='CheckLabelsHook'),
)

vis_backends = [
    dict(type='LocalVisBackend'),
    # dict(type='TensorboardVisBackend'),
    # dict(type='WandbVisBackend', init_kwargs=dict(project='vitadapter_dense')),
]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')

log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)

# Crops and slide windows have one size, for which cuDNN's search pays.
env_cfg = dict(cudnn_benchmark=True)
