"""Preset ViT-Adapter-L for detection, EVA-02 weights (ours: the original has none).

Patches of 14 pixels as they were pre-trained. Windows are those of their pre-training, drop
path and adapter those of the preset of this size; rotary positions follow windows and image.
"""

_base_ = './vitadapter_l.py'

preset = dict(
    # EVA-02 was trained with the statistics of CLIP.
    data_preprocessor=dict(mean=[122.771, 116.746, 104.094], std=[68.501, 66.632, 70.323]),
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            model_name='eva02_large_patch14_448.mim_m38m_ft_in22k_in1k',
            pretrained=True,
            window_sizes=[16, 16, 16, 16, 16, None] * 4,
            drop_path_rate=0.4,
        ),
    ),
)
