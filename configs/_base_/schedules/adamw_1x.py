"""AdamW, 12 epochs (1x), as ViT-Adapter trains detectors.

Source: ViT-Adapter, detection/configs/_base_/schedules/schedule_1x.py and
detection/configs/mask_rcnn/*_1x_coco.py.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    # The keys match any part of a parameter's name; batch norms of the adapter (`spm.stem.1`) and
    # layer scale are decayed, as in the original.
    paramwise_cfg=dict(
        custom_keys={
            'level_embed': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
            'bias': dict(decay_mult=0.0),
        },
    ),
    clip_grad=None,
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]

# 8 GPUs x 2 images. `--auto-scale-lr` scales the learning rate to another total batch.
auto_scale_lr = dict(enable=False, base_batch_size=16)
