"""HTC++, ViT-Adapter-L, BEiT v2 weights, pre-trained on Objects365, 20k iterations on COCO.

Source: ViT-Adapter, detection/configs/htc++/htc++_beitv2_adapter_large_fpn_o365_coco.py. It starts
from a detector after 26 epochs on Objects365, of which the original published neither the
configuration nor the file: give your own with `--cfg-options load_from=...`.
"""

_base_ = './htc_pp_vitadapter_l_beitv2.py'

width = 1024
model = dict(
    backbone=dict(with_cp=True, encoder=dict(with_cp=True, drop_path_rate=0.3)),
    neck=[
        dict(
            type='ExtraAttention',
            in_channels=[width] * 4,
            num_heads=32,
            drop_path=0.3,
            with_cp=True,
        ),
        dict(
            type='FPN',
            in_channels=[width] * 4,
            norm_cfg=dict(type='GN', num_groups=32),
            out_channels=256,
            num_outs=5,
        ),
    ],
    roi_head=dict(
        bbox_head=[
            dict(
                type='Shared4Conv1FCBBoxHead',
                in_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=target_stds,
                ),
                reg_class_agnostic=True,
                reg_decoded_bbox=True,
                # SyncBN under a GPU launcher: `sync_bn` in the runtime
                norm_cfg=dict(type='BN', requires_grad=True),
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
            )
            for target_stds in (
                [0.1, 0.1, 0.2, 0.2],
                [0.05, 0.05, 0.1, 0.1],
                [0.033, 0.033, 0.067, 0.067],
            )
        ],
    ),
)

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomResize', scale=[(2000, 600), (2000, 1600)], keep_ratio=True),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(
    batch_size=2,  # a GPU; the original has 32 of them
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(pipeline=train_pipeline),
)

max_iters = 20000
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=500)
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=0.80),
    clip_grad=dict(_delete_=True, max_norm=0.1, norm_type=2),
)
param_scheduler = [dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500)]
auto_scale_lr = dict(base_batch_size=64)

# The moving average of the weights is what is evaluated.
custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=1e-4, priority=49)]
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=500)
)
log_processor = dict(by_epoch=False)
