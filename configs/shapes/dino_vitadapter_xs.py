"""A small DINO with ViT-Adapter on the generated shapes (ours): 40 queries, three levels."""

_base_ = [
    '../_base_/models/dino_4scale.py',
    '../_base_/encoders/shapes_xs.py',
    '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/adamw_detectors_xs.py',
    '../_base_/runtime/detection_iterations.py',
]

width = 64  # of the detector; 256 in the COCO configs
num_levels = 3  # strides 8, 16, 32
ffn_cfg = dict(embed_dims=width, feedforward_channels=4 * width)
attention = dict(embed_dims=width, num_heads=4, num_levels=num_levels)

model = dict(
    num_queries=40,  # an image has at most eight objects
    num_feature_levels=num_levels,
    backbone=_base_.pop('backbone'),
    neck=dict(
        in_channels=[96] * 4,
        neck=dict(out_channels=width, norm_cfg=dict(num_groups=8), num_outs=num_levels),
    ),
    encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn_cfg)),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=width, num_heads=4),
            cross_attn_cfg=attention,
            ffn_cfg=ffn_cfg,
        ),
    ),
    positional_encoding=dict(num_feats=width // 2),
    bbox_head=dict(num_classes=5, embed_dims=width),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=30)),
    test_cfg=dict(max_per_img=40),
)
del attention, ffn_cfg

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    clip_grad=dict(max_norm=1.0),
)
default_hooks = dict(checkpoint=dict(interval=500, save_best='coco/bbox_mAP'))
