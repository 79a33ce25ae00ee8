"""A minute of random backbones, under a seed that is fresh in every run and printed."""

from __future__ import annotations

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

from tools.experiments import fuzz_backbones
from vitadapter_dense.training.random_backbones import draw


def test_every_backbone_and_attention_is_drawn():
    configs = [draw(seed).config for seed in range(600)]
    kinds = {config.get('backbone', config)['type'] for config in configs}
    ours = {'ViTAdapter', 'LiteAdapter', 'PlainViT', 'SimplePyramid', 'PriorPyramid', 'TimmStages'}
    assert ours <= kinds
    assert {config.get('attention') for config in configs} >= {'deformable', 'global', 'cswin'}
    of_stages = [c['tuning'] for c in configs if c.get('backbone', {}).get('type') == 'TimmStages']
    of_pixels = {tuning.get('location') for tuning in of_stages if isinstance(tuning, dict)}
    assert {'pad', 'below'} <= of_pixels


@pytest.mark.slow
def test_a_minute_of_random_backbones(capfd):
    status = fuzz_backbones.main(['--seconds', '58'])
    printed = capfd.readouterr().out
    assert status == 0, printed
    with capfd.disabled():
        print('\n' + printed.splitlines()[-1], end=' ')  # noqa: T201
