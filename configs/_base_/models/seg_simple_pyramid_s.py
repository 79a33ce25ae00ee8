"""Preset plain ViT-S for segmentation, the baseline without adapter, DeiT-S weights.

The maps after blocks 2, 5, 8, 11 become strides 4, 8, 16, 32, as in the original's detection
baseline; for segmentation the original released a baseline of BEiT-L alone, so this one is ours.
"""

preset = dict(
    backbone=dict(
        type='SimplePyramid',
        style='original',
        encoder=dict(
            type='TimmViT',
            model_name='deit_small_patch16_224.fb_in1k',
            pretrained=True,
            drop_path_rate=0.1,
            init_values=1.0,
        ),
        out_indices=[2, 5, 8, 11],
    ),
    decode_head=dict(in_channels=[384] * 4),
    auxiliary_head=dict(in_channels=384),
)
