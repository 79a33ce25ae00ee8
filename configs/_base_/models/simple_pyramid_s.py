"""Preset plain ViT-S, the baseline that ViT-Adapter is measured against: no adapter.

The maps after blocks 2, 5, 8, 11 become strides 4, 8, 16, 32 by (transposed) convolution and
pooling. Source: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_deit_small_fpn_3x_coco.py.
"""

preset = dict(
    backbone=dict(
        type='SimplePyramid',
        style='original',
        encoder=dict(
            type='TimmViT',
            model_name='deit_small_patch16_224.fb_in1k',
            pretrained=True,
            window_sizes=[14, 14, None] * 4,
            drop_path_rate=0.1,
            init_values=1.0,
        ),
        out_indices=[2, 5, 8, 11],
    ),
    neck=dict(in_channels=[384] * 4),
)
