"""The quick start's baseline: the same small ViT, heads and schedule, without the adapter."""

_base_ = './mask_rcnn_vitadapter_xs.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SimplePyramid',
        style='original',
        encoder={{_base_.model.backbone.encoder}},
    ),
)
