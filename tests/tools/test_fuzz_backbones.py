"""A minute of random backbones, under a seed that is fresh in every run and printed."""

from __future__ import annotations

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

from tools.experiments import fuzz_backbones


@pytest.mark.slow
def test_a_minute_of_random_backbones(capfd):
    status = fuzz_backbones.main(['--seconds', '58'])
    printed = capfd.readouterr().out
    assert status == 0, printed
    with capfd.disabled():
        print('\n' + printed.splitlines()[-1], end=' ')  # noqa: T201
