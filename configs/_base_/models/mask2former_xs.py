"""A small Mask2Former with ViT-Adapter for the generated shapes: things and background (ours).

The backbone is that of the detection quick start; the head is the COCO configs' own, with fewer
queries and layers and a quarter of the width.
"""

_base_ = ['./mask2former_panoptic.py', '../encoders/shapes_xs.py']

width = 64  # of the head; 256 in the COCO configs
num_classes = 6  # five shapes and the background
heads = dict(embed_dims=width, num_heads=2)

model = dict(
    backbone=_base_.pop('backbone'),
    panoptic_head=dict(
        in_channels=[96] * 4,
        feat_channels=width,
        out_channels=width,
        num_things_classes=5,
        num_stuff_classes=1,
        num_queries=20,  # an image has at most eight objects
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
    ),
    panoptic_fusion_head=dict(num_things_classes=5, num_stuff_classes=1),
    train_cfg=dict(num_points=2304),  # all pixels of the masks, which are 48 x 48
    test_cfg=dict(max_per_image=20),
)
del heads
