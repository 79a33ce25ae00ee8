"""Upgraded Mask R-CNN, ViT-Adapter-B, MAE weights, 50 epochs with large-scale jittering."""

_base_ = './mask_rcnn_vitadapter_b_mae_lsj_25ep.py'

# Twice the 25 epochs' drop path (ViT-Adapter, upgraded_mask_rcnn/*_50ep_coco.py).
model = dict(backbone=dict(encoder=dict(drop_path_rate=0.2)))

max_epochs = 50
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs),
]
