"""PMT on a frozen DINOv3 encoder, and EoMT on one that trains, in three sizes.

A config takes its part with `model = _base_.pop('mask_presets').l.pmt_semantic`. `*_semantic` are
for MMSegmentation's segmentor, `*_objects` for MMDetection's detector.

Sources: PMT, image/configs/**/pmt_{s,b,l}_*.yaml and image/models/pmd.py (depths, six blocks whose
MLP has no more channels than their tokens, laterals with batch norm); EoMT, configs/dinov3/**
(three blocks for S and B, four for L). Layer scale, norms and rotary positions are DINOv3's.
"""


def preset(name: str, width: int, depth: int, open_blocks: int) -> dict[str, dict]:
    """One size."""
    encoder = dict(
        type='TimmViT',
        model_name=f'vit_{name}_patch16_dinov3.lvd1689m',
        pretrained=True,
        keep_prefix_tokens=True,
    )
    quarter = depth // 4
    pmt = dict(
        type='PlainViT',
        encoder=dict(frozen=True, **encoder),
        out_indices=[quarter * part - 1 for part in (1, 2, 3, 4)],
    )
    plain = dict(type='PlainMaskDecoder', in_channels=[width] * 4, num_blocks=6, mlp_ratio=1.0)
    eomt = dict(type='OpenViT', encoder=encoder, open_blocks=open_blocks)
    last = dict(type='EncoderOnlyDecoder', width=width, num_blocks=open_blocks)
    return dict(
        pmt_semantic=dict(backbone=pmt, decode_head=dict(decoder=plain)),
        pmt_objects=dict(backbone=pmt, panoptic_head=dict(decoder=plain)),
        eomt_semantic=dict(backbone=eomt, decode_head=dict(decoder=last)),
        eomt_objects=dict(backbone=eomt, panoptic_head=dict(decoder=last)),
    )


mask_presets = dict(
    s=preset('small', 384, 12, 3),
    b=preset('base', 768, 12, 3),
    l=preset('large', 1024, 24, 4),
)
