"""PMT on a frozen DINOv3 encoder, and EoMT on one that trains, in three sizes, and one for shapes.

A config takes its part with `model = _base_.pop('mask_presets').l.pmt_semantic`. `*_semantic` are
for MMSegmentation's segmentor, `*_objects` for MMDetection's detector.

Sources: PMT, image/configs/**/pmt_{s,b,l}_*.yaml and image/models/pmd.py (depths, six blocks whose
MLP has no more channels than their tokens, laterals with batch norm); EoMT, configs/dinov3/**
(three blocks for S and B, four for L). Layer scale, norms and rotary positions are DINOv3's.
"""


def preset(encoder: dict, width: int, depth: int, open_blocks: int, **decoder) -> dict[str, dict]:
    """One size."""
    quarter = depth // 4
    pmt = dict(
        type='PlainViT',
        encoder=dict(encoder, type='TimmViT', frozen=True),
        out_indices=[quarter * part - 1 for part in (1, 2, 3, 4)],
    )
    plain = dict(type='PlainMaskDecoder', in_channels=[width] * 4, **decoder)
    eomt = dict(type='OpenViT', encoder=dict(encoder, type='TimmViT'), open_blocks=open_blocks)
    last = dict(type='EncoderOnlyDecoder', width=width, num_blocks=open_blocks)
    return dict(
        pmt_semantic=dict(backbone=pmt, decode_head=dict(decoder=plain)),
        pmt_objects=dict(backbone=pmt, panoptic_head=dict(decoder=plain)),
        eomt_semantic=dict(backbone=eomt, decode_head=dict(decoder=last)),
        eomt_objects=dict(backbone=eomt, panoptic_head=dict(decoder=last)),
    )


def dinov3(size: str) -> dict:
    """Its encoder with CLS and registers."""
    return dict(
        model_name=f'vit_{size}_patch16_dinov3.lvd1689m', pretrained=True, keep_prefix_tokens=True
    )


mask_presets = dict(
    # The quick start's encoder as it has trained it, on images with ImageNet's statistics (ours).
    xs=preset(
        dict(
            model_name='deit_tiny_patch16_224',
            img_size=192,
            embed_dim=96,
            depth=4,
            num_heads=3,
            pretrained='work_dirs/shapes/mask_rcnn_vitadapter_xs/iter_1800.pth',
        ),
        width=96,
        depth=4,
        open_blocks=2,
        num_blocks=3,
        num_heads=3,
        mlp_ratio=2.0,
    ),
    s=preset(dinov3('small'), 384, 12, 3, num_blocks=6, mlp_ratio=1.0),
    b=preset(dinov3('base'), 768, 12, 3, num_blocks=6, mlp_ratio=1.0),
    l=preset(dinov3('large'), 1024, 24, 4, num_blocks=6, mlp_ratio=1.0),
)
