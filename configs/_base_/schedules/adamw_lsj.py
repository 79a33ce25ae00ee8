"""AdamW with a cosine, 25 epochs, as ViT-Adapter trains with large-scale jittering.

Source: ViT-Adapter, detection/configs/upgraded_mask_rcnn/*_25ep_coco.py.
"""

_base_ = './adamw_1x.py'

max_epochs = 25
train_cfg = dict(max_epochs=max_epochs)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=2000),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
