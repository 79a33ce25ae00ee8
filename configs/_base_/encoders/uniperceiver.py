"""Uni-Perceiver (https://arxiv.org/abs/2112.01522), pre-trained on images, videos and language.

Source: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_uniperceiver_adapter_base_fpn_3x_coco.py
and segmentation/configs/ade20k/upernet_uniperceiver_adapter_large_512_160k_ade20k.py, and the
encoder's class there. timm has no such model: the name is that of one with its layers, to which the
arguments add the norm after the patches. Give its authors' file, or the original's conversion of
it: `--cfg-options model.backbone.encoder.pretrained=uni-perceiver-base-L12-H768-....pth`.
"""

_base_ = '../models/vit_presets.py'

encoder = dict(
    pretrained=False,
    pre_norm=True,
    class_token=False,
    global_pool='avg',
    norm_eps=1e-5,
    window_pad='input',
    init_values=1e-6,  # of layer scale; the file has its own
)
presets = dict(
    b=dict(
        detection=dict(
            backbone=dict(
                encoder=dict(model_name='vit_base_patch16_224.mae', drop_path_rate=0.2, **encoder),
                norm_eps=1e-5,
            )
        )
    ),
    l=dict(
        segmentation=dict(
            backbone=dict(
                encoder=dict(model_name='vit_large_patch16_224.mae', **encoder), norm_eps=1e-5
            )
        )
    ),
)
del encoder
