"""Cascade Mask R-CNN, ResNet-50, adapters behind its residual blocks, 1x."""

_base_ = './cascade_mask_rcnn_r50_full.py'

model = dict(backbone=dict(tuning=dict(_delete_=True, type='Adapter')))
