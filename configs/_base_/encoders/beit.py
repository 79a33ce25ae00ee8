"""BEiT (https://arxiv.org/abs/2106.08254), ImageNet-22k.

Detection: ViT-Adapter, detection/configs/htc++/*_beit_*_large_*.py; windows of 56 act as global
attention. B in detection is ours, with its drop path of segmentation.

Segmentation: ViT-Adapter,
segmentation/configs/coco_stuff10k/mask2former_beit_adapter_base_512_40k_*.py and
segmentation/configs/ade20k/*_beit_adapter_large_640_160k_ade20k_ss.py: CLS kept, global
attention, one relative-position table a block, of the size of the crop (32 x 32 and 40 x 40
patches; a config with another crop sets `img_size`). The original normalises with ImageNet's
statistics, although BEiT was pre-trained with mean and standard deviation 127.5.
"""

_base_ = '../models/vit_presets.py'

presets = {
    size: dict(
        detection=dict(
            backbone=dict(
                encoder=dict(
                    model_name=name,
                    # The table of each block is resampled to its window.
                    window_sizes=[
                        window or 56
                        for window in _base_.presets[size].detection.backbone.encoder.window_sizes
                    ],
                    window_pad='input',
                    drop_path_rate=drop_path_rate,
                    init_values=1e-6,
                ),
                injector_init=1e-6,
            ),
        ),
        segmentation=dict(
            backbone=dict(
                encoder=dict(
                    model_name=name,
                    img_size=crop,
                    keep_prefix_tokens=True,
                    window_pad='input',
                    drop_path_rate=drop_path_rate,
                    init_values=1e-6,
                ),
                injector_init=1e-6,
            ),
        ),
    )
    for size, name, crop, drop_path_rate in (
        ('b', 'beit_base_patch16_224.in22k_ft_in22k', 512, 0.2),
        ('l', 'beit_large_patch16_224.in22k_ft_in22k', 640, 0.3),
    )
}
