"""The configuration of a released model is the one that it was trained with, as far as is known."""

from __future__ import annotations

import re

import pytest

from vitadapter_cli.released_models import MODELS_OF_THE_ORIGINAL

# what the original's tables call the weights, and how timm's names of them begin and end
ENCODERS = {
    'DeiT': r'deit_\w+_patch16_224\.fb_in1k',
    'Uni-Perceiver': r'vit_\w+_patch16_224\.mae',  # the architecture alone
    'MAE': r'vit_\w+_patch16_224\.mae',
    'AugReg': r'vit_\w+\.augreg_in21k_ft_in1k',
    'BEiT': r'beit_\w+_patch16_224\.in22k_ft_in22k',
    'BEiT v2': r'beitv2_[\w.]+',
}


@pytest.mark.parametrize('model', MODELS_OF_THE_ORIGINAL, ids=lambda model: model.name)
def test_configuration_fits_what_the_tables_say(model, read_config, build_model):
    name = f'{model.name}.py'
    cfg = read_config(name)
    weights = re.match(r'([\w -]+)-([TSBL])', model.weights)
    encoder = cfg.model.backbone.encoder.model_name
    assert re.fullmatch(ENCODERS[weights[1]], encoder)
    size = re.search(r'_vitadapter_([tsbl])', name)[1]
    assert size == weights[2].lower() == re.search('_(tiny|small|base|large)_', encoder)[1][0]
    measured = sum(parameter.numel() for parameter in build_model(name).parameters()) / 1e6
    if model.parameters != '-':
        published = int(model.parameters.removesuffix(' M'))
        if '_lsj_' in name:  # the table counts extra extractors, which the config leaves out
            published -= 2
        assert abs(measured - published) < 1
    if 'epochs' in model.schedule or model.schedule == '3x + MS':
        expected = re.match(r'(\d+) epochs', model.schedule)
        epochs = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters * 16 / 118_000
        assert round(epochs) == (int(expected[1]) if expected else 36)
        return
    iterations, crop = map(int, re.fullmatch(r'(\d+)k, crop (\d+)', model.schedule).groups())
    assert cfg.train_cfg.max_iters == 1000 * iterations
    assert cfg.model.test_cfg.crop_size == cfg.model.data_preprocessor.size == (crop, crop)
    assert f'_{crop}_' in model.address
    if 'BEiT' in model.weights:  # their relative positions are a table of the crop's size
        assert cfg.model.backbone.encoder.img_size == crop
