"""AdamW, 50 epochs, as MMDetection trains Deformable DETR (deformable-detr_r50_16xb2-50e_coco.py).

A tenth of the rate is the encoder's, as with DINO here, and that of the layers that say where the
detector's attention looks. The adapter's own sampling keeps the whole rate (ours).
"""

_base_ = './adamw_dino_12e.py'

max_epochs = 50

train_cfg = dict(max_epochs=max_epochs)

optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(
        custom_keys={
            'cross_attn.sampling_offsets': dict(lr_mult=0.1),
            'self_attn.sampling_offsets': dict(lr_mult=0.1),
        },
    ),
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[40], gamma=0.1),
]

# 16 GPUs x 2 images.
auto_scale_lr = dict(base_batch_size=32)
