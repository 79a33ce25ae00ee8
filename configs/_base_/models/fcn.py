"""A fully convolutional head on all four maps of the backbone, the smallest that uses them all.

The maps are brought to stride 4, concatenated, and mixed by one 1 x 1 convolution, as
MMSegmentation does on HRNet. Auxiliary head, preprocessing and inference are UperNet's.
"""

_base_ = './upernet.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_index=[0, 1, 2, 3],
        input_transform='resize_concat',
        channels=512,
        kernel_size=1,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='PixelCrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
