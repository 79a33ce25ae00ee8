"""ViT-Adapter's table 6, N = 2: 2 interactions instead of four."""

_base_ = '../coco/mask_rcnn_vitadapter_s_1x.py'

model = dict(backbone=dict(interaction_indexes=[[0, 5], [6, 11]]))
