"""EoMT with DINOv3 on COCO, in epochs of 7392 iterations: the rates of its layers.

Source: EoMT, configs/dinov3/coco/panoptic/eomt_*_640*.yaml (`lr`, `llrd`, `llrd_l2_enabled`). The
blocks that take the queries train at the full rate, those below them at 0.8 of it from block to
block; the embeddings here at a step less than the first block. A schedule adds the length, takes
the rates of its depth with `_base_.pop('layer_rates')`, and says when masks open.
"""

_base_ = './adamw_eomt.py'

train_cfg = dict(type='IterBasedTrainLoop', val_interval=7392)


def rates(depth: int, open_blocks: int) -> dict[str, object]:
    """`paramwise_cfg` for an encoder of so many blocks."""
    return dict(
        num_layers=depth,
        layer_decay_rate=0.8,
        custom_keys={
            'backbone.encoder': dict(lr_mult=1 / 0.8),  # the last block's rate is the full one
            **{
                f'backbone.encoder.blocks.{i}.': dict(lr_mult=0.8 ** (i - depth))
                for i in range(depth - open_blocks, depth)
            },
        },
    )


layer_rates = dict(b=rates(12, 3), l=rates(24, 4))  # S is as deep as B
