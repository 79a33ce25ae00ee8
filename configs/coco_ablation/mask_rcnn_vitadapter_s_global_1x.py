"""ViT-Adapter's table 7: global attention in injectors and extractors."""

_base_ = '../coco/mask_rcnn_vitadapter_s_1x.py'

model = dict(backbone=dict(attention='global'))
