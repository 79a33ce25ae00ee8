"""Classes in three steps, three shapes and the background, then one and one: a mask for each class.

ECLIPSE (https://arxiv.org/abs/2403.20126) with MMSegmentation's head: after the first step nothing
but the new step's queries and heads trains. Model, schedule and constants are ours.
"""

_base_ = [
    '../_base_/models/mask2former.py',
    '../_base_/encoders/shapes_xs.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/runtime/mask2former.py',
    '../_base_/schedules/adamw_mask2former_xs.py',
]

continual = dict(
    # as an ordinary class of the first step: what comes later is of no class there
    groups=[['background', 'circle', 'square', 'triangle'], ['star'], ['cross']],
    freeze_rest=True,
    later=dict(
        train_cfg=dict(max_iters=300, val_interval=300),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
            dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=300),
        ],
        model=dict(decode_head=dict(loss_cls=dict(loss_weight=10.0))),
    ),
)

width = 64  # of the head; 256 in the large configs
num_classes = 6
heads = dict(embed_dims=width, num_heads=2)

model = dict(
    backbone=_base_.pop('backbone'),
    data_preprocessor=dict(size=(192, 192)),
    decode_head=dict(
        type='StepwiseMask2FormerHead',
        new_classes=[1, 1],
        step_queries=5,
        deltas=[0.4, 0.6],
        in_channels=[96] * 4,
        feat_channels=width,
        out_channels=width,
        num_classes=num_classes,
        num_queries=20,
        pixel_decoder=dict(
            encoder=dict(
                num_layers=2,
                layer_cfg=dict(
                    self_attn_cfg=heads,
                    ffn_cfg=dict(embed_dims=width, feedforward_channels=4 * width),
                ),
            ),
            positional_encoding=dict(num_feats=width // 2),
        ),
        positional_encoding=dict(num_feats=width // 2),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=heads,
                cross_attn_cfg=heads,
                ffn_cfg=dict(embed_dims=width, feedforward_channels=4 * width),
            ),
        ),
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),  # the last one is 'no object'
        train_cfg=dict(num_points=2304),  # all pixels of the masks, which are 48 x 48
    ),
    test_cfg=dict(_delete_=True, mode='whole'),
)
del heads

default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=1))
