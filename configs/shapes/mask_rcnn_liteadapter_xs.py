"""The quick start with the light adapter: the same small ViT, heads and schedule."""

_base_ = './mask_rcnn_vitadapter_xs.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='LiteAdapter',
        encoder={{_base_.model.backbone.encoder}},
    ),
)
