"""ViT-B/16 of MoCo v3 (ImageNet-1k, without labels): the file that VPT names."""

_base_ = './classifier_deit_b_full.py'

model = dict(
    backbone=dict(
        encoder=dict(
            model_name='vit_base_patch16_224',
            pretrained='https://dl.fbaipublicfiles.com/moco-v3/vit-b-300ep/'
            'linear-vit-b-300ep.pth.tar',
        )
    )
)
