"""ViT-Adapter's table 6, variant 1: the spatial prior is added to the ViT."""

_base_ = '../coco/mask_rcnn_vitadapter_s_1x.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='PriorPyramid',
        injection='add',
        encoder={{_base_.model.backbone.encoder}},
        norm_cfg={{_base_.model.backbone.norm_cfg}},
    ),
)
