"""Images are normalised as in the pre-training of the encoder, or a comment says why not."""

from __future__ import annotations

import pytest
from timm.models import get_pretrained_cfg

from vitadapter_dense.encoders.image_statistics import find_other_statistics

#: where the original normalises otherwise, and the file that says so
OF_THE_ORIGINAL = {
    'beit_base_patch16_224.in22k_ft_in22k': '_base_/encoders/beit.py',
    'beit_large_patch16_224.in22k_ft_in22k': '_base_/encoders/beit.py',
    'vit_tiny_patch16_224.augreg_in21k_ft_in1k': '_base_/encoders/augreg.py',
}


def test_images_are_normalised_as_in_the_pre_training(config, read_config, configs_root):
    cfg = read_config(config)
    encoder, ours = cfg.model.backbone.encoder, cfg.model.data_preprocessor
    if not encoder.get('pretrained'):
        assert not find_other_statistics(cfg)
        return
    record = get_pretrained_cfg(encoder.model_name)
    same = ours.bgr_to_rgb and all(
        255 * theirs == pytest.approx(value, abs=0.5)
        for kind in ('mean', 'std')
        for theirs, value in zip(getattr(record, kind), ours[kind], strict=True)
    )
    assert same == (encoder.model_name not in OF_THE_ORIGINAL)
    assert same == (not find_other_statistics(cfg))
    if not same:
        assert "ImageNet's" in (configs_root / OF_THE_ORIGINAL[encoder.model_name]).read_text()
