"""The runtime of panoptic models in MMDetection: the best checkpoint is that of the highest PQ."""

_base_ = './detection_iterations.py'

default_hooks = dict(checkpoint=dict(save_best='coco_panoptic/PQ', rule='greater'))
