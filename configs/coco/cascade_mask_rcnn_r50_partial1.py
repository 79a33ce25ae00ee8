"""Cascade Mask R-CNN, ResNet-50, the last residual block tuned, 1x."""

_base_ = './cascade_mask_rcnn_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='PartialTuning', num_blocks=1)))
