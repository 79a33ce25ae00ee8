"""EoMT with DINOv3 on COCO: 24 epochs of 7392 iterations, for sizes S and B.

Source: EoMT, configs/dinov3/coco/panoptic/eomt_{small,base}_640_2x.yaml (`lr`, `llrd`,
`llrd_l2_enabled`, annealing). The blocks that take the queries train at the full rate, those below
them at 0.8 of it from block to block; the embeddings here at a step less than the first block.
"""

_base_ = './adamw_eomt.py'

max_iters = 177408
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=7392)

depth, open_blocks = 12, 3
optim_wrapper = dict(
    paramwise_cfg=dict(
        num_layers=depth,
        layer_decay_rate=0.8,
        custom_keys={
            'backbone.encoder': dict(lr_mult=1 / 0.8),  # the last block's rate is the full one
            **{
                f'backbone.encoder.blocks.{i}.': dict(lr_mult=0.8 ** (i - depth))
                for i in range(depth - open_blocks, depth)
            },
        },
    ),
)
del depth, open_blocks

param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters),
]

custom_hooks = [
    dict(
        type='MaskAnnealingHook',
        start=[0, 73910, 118256],
        end=[3000, 103474, 147820],
    ),
]
