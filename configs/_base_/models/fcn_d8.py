"""FCN on a dilated ResNet-50 (output stride 8), for tuning.

Source: MMSegmentation, configs/_base_/models/fcn_r50-d8.py, with the plain stem that the weights of
torchvision have. What is not said here is UperNet's.
"""

_base_ = ['./upernet.py', '../encoders/resnet50.py']

model = _base_.pop('presets').segmentation
model.backbone.backbone.update(dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1))
model.decode_head = dict(
    _delete_=True,
    type='FCNHead',
    in_channels=2048,
    in_index=3,
    channels=512,
    num_convs=2,
    concat_input=True,
    dropout_ratio=0.1,
    num_classes=150,
    norm_cfg=dict(type='BN', requires_grad=True),
    align_corners=False,
    loss_decode=dict(type='PixelCrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
)
