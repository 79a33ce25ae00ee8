"""EVA-02 (https://arxiv.org/abs/2303.11331), patches of 14 pixels as they were pre-trained (ours).

Windows in detection are those of their pre-training, 16 patches; rotary positions follow windows
and image.
"""

_base_ = '../models/vit_presets.py'

# EVA-02 was trained with the statistics of CLIP.
clip = dict(mean=[122.771, 116.746, 104.094], std=[68.501, 66.632, 70.323])
presets = {
    size: dict(
        detection=dict(
            data_preprocessor=clip,
            backbone=dict(
                encoder=dict(
                    model_name=name,
                    window_sizes=[
                        window and 16
                        for window in _base_.presets[size].detection.backbone.encoder.window_sizes
                    ],
                ),
            ),
        ),
        segmentation=dict(data_preprocessor=clip, backbone=dict(encoder=dict(model_name=name))),
    )
    for size, name in dict(
        s='eva02_small_patch14_336.mim_in22k_ft_in1k',
        b='eva02_base_patch14_448.mim_in22k_ft_in22k_in1k',
        l='eva02_large_patch14_448.mim_m38m_ft_in22k_in1k',
    ).items()
}
del clip
