"""Cascade Mask R-CNN, ResNet-50, tuned with prompt blocks (reconstruction), 1x."""

_base_ = './cascade_mask_rcnn_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='ProTuning')))
