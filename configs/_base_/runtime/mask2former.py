"""The runtime of Mask2Former in MMSegmentation: its head and its losses are MMDetection's."""

_base_ = './segmentation.py'

custom_imports = dict(imports=['vitadapter_dense', 'mmdet.models'], allow_failed_imports=False)
