"""Mask2Former with the wide head (1024 channels) of ViT-Adapter's L models.

Source: ViT-Adapter,
segmentation/configs/ade20k/mask2former_beit_adapter_large_640_160k_ade20k_ss.py. The original also
recomputes the feed-forward parts in the backward pass to save memory; mmcv 2 has no such switch.
"""

_base_ = './mask2former.py'

model = dict(
    decode_head=dict(
        feat_channels=1024,
        out_channels=1024,
        pixel_decoder=dict(
            encoder=dict(
                layer_cfg=dict(
                    self_attn_cfg=dict(embed_dims=1024, num_heads=32),
                    ffn_cfg=dict(embed_dims=1024, feedforward_channels=4096),
                ),
            ),
            positional_encoding=dict(num_feats=512),
        ),
        positional_encoding=dict(num_feats=512),
        transformer_decoder=dict(
            layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=1024, num_heads=32),
                cross_attn_cfg=dict(embed_dims=1024, num_heads=32),
                ffn_cfg=dict(embed_dims=1024, feedforward_channels=4096),
            ),
        ),
    ),
)
