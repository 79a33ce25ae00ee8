"""Preset ViT-Adapter-S for segmentation, EVA-02 weights (ours: the original has none).

Patches of 14 pixels as they were pre-trained, global attention; adapter and drop path are those of
the preset of this size.
"""

_base_ = './seg_vitadapter_s.py'

preset = dict(
    # EVA-02 was trained with the statistics of CLIP.
    data_preprocessor=dict(mean=[122.771, 116.746, 104.094], std=[68.501, 66.632, 70.323]),
    backbone=dict(
        encoder=dict(
            _delete_=True,
            type='TimmViT',
            model_name='eva02_small_patch14_336.mim_in22k_ft_in1k',
            drop_path_rate=0.2,
            pretrained=True,
        ),
    ),
)
