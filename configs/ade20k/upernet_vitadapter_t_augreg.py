"""UperNet, ViT-Adapter-T, AugReg-T weights, crop 512, 160k iterations."""

_base_ = './upernet_vitadapter_t.py'

model = dict(
    backbone=dict(
        encoder=dict(
            # Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--imagenet2012-
            # steps_20k-lr_0.03-res_224.npz. The original leaves ImageNet's mean and standard
            # deviation in place for this one
            # (segmentation/configs/ade20k/upernet_augreg_adapter_tiny_512_160k_ade20k.py).
            model_name='vit_tiny_patch16_224.augreg_in21k_ft_in1k',
        ),
    ),
)
