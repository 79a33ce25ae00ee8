"""Mask R-CNN without FPN, ViT-Adapter-S, DeiT-S weights, 3x with multi-scale training.

Source: ViT-Adapter, detection/configs/mask_rcnn/no_fpn/mask_rcnn_deit_adapter_small_3x_coco.py: the
adapter's maps are a pyramid already, and each gets a 1x1 convolution.
"""

_base_ = './mask_rcnn_vitadapter_s.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='ChosenLevels',
        in_channels=[384] * 4,
        neck=dict(type='mmdet.ChannelMapper', kernel_size=1, out_channels=256),
        num_pooled=1,
    )
)

optim_wrapper = dict(type='AutocastOptimWrapper', loss_scale=dict(init_scale=512))
