"""A plain ViT as the backbone of a detector or segmentor, in five sizes, without weights.

A file of `../encoders` adds the weights, and a config takes its part of both with
`model = _base_.pop('presets').b.detection`; nothing of the rest stays in it. Beside `detection` and
`segmentation`, ViT-Adapter that trains as a whole, there are `frozen_*`, ViT-Adapter over a frozen
encoder, `lite_*`, the light adapter, and `baseline_*`, the plain ViT that ViT-Adapter is measured
against.

Source of every number: ViT-Adapter, detection/configs/mask_rcnn/mask_rcnn_*_fpn_3x_coco.py and
segmentation/configs/ade20k/upernet_*_adapter_*_512_160k_ade20k.py, with DeiT weights for T, S and B
and AugReg weights for L. What all sizes share is the default of `ViTAdapter`: four interactions
over equal spans of blocks, `conv_inplane=64`, `n_points=4`, `cffn_ratio=0.25`, the last ViT map
added to all levels.
"""


def for_detection(width: int, **backbone) -> dict:
    """The parts of a detector: FPN takes four maps of one width."""
    return dict(
        # ImageNet's statistics (RGB, 0..255); an encoder that saw others brings them.
        data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        backbone=backbone,
        neck=dict(in_channels=[width] * 4),
    )


def for_segmentation(width: int, **backbone) -> dict:
    """The parts of a segmentor; one without auxiliary head deletes that."""
    return dict(
        data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        backbone=backbone,
        decode_head=dict(in_channels=[width] * 4),
        auxiliary_head=dict(in_channels=width),
    )


def presets_of(
    width: int,
    deform_num_heads: int,
    deform_ratio: float,
    window_sizes: list[int | None],
    drop_path_rate: float,
    segmentation_only: dict,
) -> dict[str, dict]:
    """One size: ViT-Adapter's settings, windows for detection, and what segmentation adds."""
    encoder = dict(type='TimmViT', pretrained=True)
    trained = dict(drop_path_rate=drop_path_rate, **encoder)
    adapter = dict(
        type='ViTAdapter',
        deform_num_heads=deform_num_heads,
        deform_ratio=deform_ratio,
        # BN here is SyncBN under a GPU launcher: `sync_bn` in the runtime.
        norm_cfg=dict(type='BN', requires_grad=True),
    )
    # The design of DINOv3's adapter (Simeoni et al., https://arxiv.org/abs/2508.10104, section
    # 6.3.2), for both tasks: nothing is injected, so that the encoder runs without gradients, and
    # in bfloat16 under autocast; the ViT's map after interaction i is added to level i.
    frozen = dict(
        encoder=dict(frozen=True, **encoder),
        injector=False,
        vit_feature='per_stage',
        drop_path_rate=drop_path_rate,  # of the extractors; the encoder has none
        **adapter,
    )
    # The maps after each quarter of the blocks become strides 4, 8, 16, 32 by (transposed)
    # convolution and pooling. For segmentation the original released a baseline of BEiT-L alone, so
    # that this one is ours.
    plain = dict(drop_path_rate=0.1, **encoder)
    quarter = len(window_sizes) // 4
    pyramid = dict(
        type='SimplePyramid',
        style='original',
        out_indices=[quarter * (i + 1) - 1 for i in range(4)],
    )
    # DEIMv2 (https://arxiv.org/abs/2509.20787) takes blocks 5, 8 and 11 of 12, and 16 to 64
    # channels at stride 4; which size has how many is ours: 16, 32, 64, 64 for T, S, B, L.
    lite = dict(
        type='LiteAdapter',
        out_indices=[quarter * part - 1 for part in (2, 3, 4)],
        conv_inplane=min(width // 12, 64),
        norm_cfg=dict(type='BN', requires_grad=True),
    )
    return dict(
        detection=for_detection(
            width, encoder=dict(window_sizes=window_sizes, **trained), **adapter
        ),
        # No windows, and the ViT's map after interaction i is added to level i.
        segmentation=for_segmentation(
            width,
            encoder=dict(**trained, **segmentation_only),
            vit_feature='per_stage',
            **adapter,
            **segmentation_only,
        ),
        frozen_detection=for_detection(width, **frozen),
        frozen_segmentation=for_segmentation(width, **frozen, **segmentation_only),
        lite_detection=for_detection(
            width, encoder=dict(window_sizes=window_sizes, **trained), **lite
        ),
        lite_segmentation=for_segmentation(
            width, encoder=dict(**trained, **segmentation_only), **lite
        ),
        baseline_detection=for_detection(
            width, encoder=dict(window_sizes=window_sizes, **plain), **pyramid
        ),
        baseline_segmentation=for_segmentation(width, encoder=plain, **pyramid),
    )


# Two or five windowed blocks, then a global one. The original's segmentors of size L recompute the
# activations of blocks and adapter, its detectors do not.
presets = dict(
    # width, deform_num_heads, deform_ratio, window_sizes, drop_path_rate, segmentation_only
    t=presets_of(192, 6, 1.0, [14, 14, None] * 4, 0.1, {}),
    s=presets_of(384, 6, 1.0, [14, 14, None] * 4, 0.2, {}),
    b=presets_of(768, 12, 0.5, [14, 14, None] * 4, 0.3, {}),
    l=presets_of(1024, 16, 0.5, [14, 14, 14, 14, 14, None] * 4, 0.4, dict(with_cp=True)),
    # DINOv3's 7B, whose adapter has L's settings (dinov3/eval/segmentation); frozen alone is meant.
    giant=presets_of(4096, 16, 0.5, [None] * 40, 0.3, dict(with_cp=True)),
)
