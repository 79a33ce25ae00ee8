"""The quick start's backbone: a small ViT-Adapter for images of 192 pixels (ours).

A config takes it with `backbone = _base_.pop('backbone')`.
"""

backbone = dict(
    type='ViTAdapter',
    encoder=dict(
        type='TimmViT',
        model_name='vit_tiny_patch16_224',
        img_size=192,
        embed_dim=96,
        depth=4,
        num_heads=3,
        drop_path_rate=0.0,
    ),
    interaction_indexes=[[0, 1], [2, 3]],
    conv_inplane=32,
    deform_num_heads=3,
    use_extra_extractor=False,
    zero_init_extractors=True,
)
