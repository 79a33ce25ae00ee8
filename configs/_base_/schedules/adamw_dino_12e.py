"""AdamW, 12 epochs, as MMDetection trains DINO (dino-4scale_r50_8xb2-12e_coco.py).

There the backbone has a tenth of the rate. Here the pre-trained encoder has; the adapter is as new
as the detector, and learns at its rate (ours).
"""

max_epochs = 12

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'backbone.encoder': dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[11], gamma=0.1),
]

# 8 GPUs x 2 images. `--auto-scale-lr` scales the learning rate to another total batch.
auto_scale_lr = dict(enable=False, base_batch_size=16)
