"""Upgraded Mask R-CNN, ViT-Adapter-B, MAE weights, 25 epochs with large-scale jittering.

Source: ViT-Adapter, detection/configs/upgraded_mask_rcnn/mask_rcnn_mae_adapter_base_lsj_fpn_*.py;
upgraded as in https://arxiv.org/abs/2111.11429: batch norm in FPN and heads, two convolutions in
the RPN, four in the box head.
"""

_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/encoders/mae.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/schedules/adamw_lsj.py',
    '../_base_/runtime/detection.py',
]

# SyncBN under a GPU launcher: `sync_bn` in the runtime
norm_cfg = dict(type='BN', requires_grad=True)

model = _base_.pop('presets').b.detection
model.neck.norm_cfg = norm_cfg
model.rpn_head = dict(num_convs=2)
model.roi_head = dict(
    bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
    mask_head=dict(norm_cfg=norm_cfg),
)

optim_wrapper = dict(type='AutocastOptimWrapper', loss_scale=dict(init_scale=512))
