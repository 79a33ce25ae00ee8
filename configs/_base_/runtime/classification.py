"""The runtime of MMPretrain's classifiers: scope, epochs, the best checkpoint."""

_base_ = './common.py'

default_scope = 'mmpretrain'

default_hooks = dict(
    checkpoint=dict(save_best='accuracy/top1', rule='greater'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends, name='visualizer')

log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)

# Images have one size, for which cuDNN's search pays.
env_cfg = dict(cudnn_benchmark=True)
