"""ViT-Adapter's table 6, N = 1: one interaction instead of four."""

_base_ = '../coco/mask_rcnn_vitadapter_s_1x.py'

model = dict(backbone=dict(interaction_indexes=[[0, 11]]))
