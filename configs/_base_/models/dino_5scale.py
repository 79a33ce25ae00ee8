"""DINO with five levels, strides 4 to 64: all four maps of the backbone, and one more.

As MMDetection's dino-5scale_swin-l_8xb2-12e_coco.py, which differs from four levels in nothing but
their number.
"""

_base_ = './dino_4scale.py'

num_levels = 5

model = dict(
    num_feature_levels=num_levels,
    neck=dict(
        _delete_=True,
        type='ChannelMapper',
        kernel_size=1,
        out_channels=256,
        act_cfg=None,
        norm_cfg=dict(type='GN', num_groups=32),
        num_outs=num_levels,
    ),
    encoder=dict(layer_cfg=dict(self_attn_cfg=dict(num_levels=num_levels))),
    decoder=dict(layer_cfg=dict(cross_attn_cfg=dict(num_levels=num_levels))),
)

find_unused_parameters = False
