"""ViT-Adapter's table 6, N = 6: 6 interactions instead of four."""

_base_ = '../coco/mask_rcnn_vitadapter_s_1x.py'

model = dict(backbone=dict(interaction_indexes=[[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]))
