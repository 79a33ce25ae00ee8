"""The runtime of MMDetection models that are trained by iterations, whose masks are what counts."""

_base_ = './detection.py'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=5000, save_best='coco/segm_mAP', rule='greater'),
)
log_processor = dict(by_epoch=False)
