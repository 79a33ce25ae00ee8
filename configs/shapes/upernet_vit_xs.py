"""The segmentation quick start's baseline: the same ViT, head and schedule, without the adapter."""

_base_ = './upernet_vitadapter_xs.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SimplePyramid',
        style='original',
        encoder={{_base_.model.backbone.encoder}},
    ),
)
