"""A small classifier of pictures of 64 pixels (ours): a ViT of four blocks, patches of 8.

A config sets `backbone.source` and `head.num_classes`.
"""

_base_ = './classifier.py'

model = dict(
    backbone=dict(
        type='TokenReadOut',
        encoder=dict(
            type='TimmViT',
            model_name='vit_tiny_patch16_224',
            img_size=64,
            patch_size=8,
            embed_dim=96,
            depth=4,
            num_heads=3,
        ),
    ),
    neck=dict(in_channels=96),
    head=dict(in_channels=96),
)
