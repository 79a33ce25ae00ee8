"""What a small Mask2Former head for the generated shapes has in both toolboxes (ours).

The large configs' own with fewer queries and layers and a quarter of the width. A config takes it
with `_base_.pop('mask2former_xs_head')`.
"""

_width = 64  # 256 in the large configs
_heads = dict(embed_dims=_width, num_heads=2)
_ffn = dict(embed_dims=_width, feedforward_channels=4 * _width)

mask2former_xs_head = dict(
    in_channels=[96] * 4,
    feat_channels=_width,
    out_channels=_width,
    num_queries=20,  # an image has at most eight objects
    pixel_decoder=dict(
        encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=_heads, ffn_cfg=_ffn)),
        positional_encoding=dict(num_feats=_width // 2),
    ),
    positional_encoding=dict(num_feats=_width // 2),
    transformer_decoder=dict(
        num_layers=3,
        layer_cfg=dict(self_attn_cfg=_heads, cross_attn_cfg=_heads, ffn_cfg=_ffn),
    ),
    loss_cls=dict(class_weight=[1.0] * 6 + [0.1]),  # five shapes, background; last 'no object'
)
del _width, _heads, _ffn
