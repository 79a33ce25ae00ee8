"""ViT-Adapter's table 6, variant 2: injectors, no extractors."""

_base_ = '../coco/mask_rcnn_vitadapter_s_1x.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='PriorPyramid',
        injection='attention',
        encoder={{_base_.model.backbone.encoder}},
        norm_cfg={{_base_.model.backbone.norm_cfg}},
    ),
)
