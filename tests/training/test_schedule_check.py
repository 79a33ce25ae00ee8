"""A schedule that does not fit the run is said before the first step."""

from __future__ import annotations

import pytest

from tests.training.toys import LossRecorder, build_runner, evaluation
from vitadapter_dense.training.errors import SettingsError

WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=500)


def checked(work_dir, **options) -> None:
    """Builds a run and goes as far as its first step."""
    runner = build_runner(work_dir, recorder=LossRecorder(stop_before=0), **options)
    with pytest.raises(InterruptedError):
        runner.train()


@pytest.mark.parametrize(
    ('by_epoch', 'scheduler', 'message'),
    [
        (False, dict(type='MultiStepLR', milestones=[8, 11]), 'max_iters=12 has none.*by_epoch'),
        (False, dict(type='PolyLR', by_epoch=False, end=6), r'ends at 6 with lr 0.*max_iters=12'),
        (True, dict(type='LinearLR', end=1), 'LinearLR begins at 0 and ends at 1, one step later'),
        (True, dict(type='CosineAnnealingLR', end=5), r'ends at 5 with lr 0.*max_epochs=12'),
    ],
)
def test_what_wastes_a_run_is_an_error(tmp_path, by_epoch, scheduler, message):
    with pytest.raises(SettingsError, match=message):
        build_runner(tmp_path, by_epoch=by_epoch, length=12, param_scheduler=[scheduler]).train()


@pytest.mark.parametrize(
    ('by_epoch', 'schedulers', 'message'),
    [
        pytest.param(
            False,
            [WARM_UP, dict(type='PolyLR', by_epoch=False, begin=500, end=16000)],
            [
                'LinearLR ends at 500, after the run (train_cfg.max_iters=3)',
                'PolyLR begins at 500, after the run (train_cfg.max_iters=3)',
                'val_interval=4: there is one evaluation',
            ],
            id='short trial',
        ),
        pytest.param(
            True,
            [dict(type='MultiStepLR', milestones=[2, 8, 11])],
            ['MultiStepLR has milestones [8, 11] after the run (train_cfg.max_epochs=3)'],
            id='milestones',
        ),
        pytest.param(True, [dict(type='PolyLR', end=2, eta_min=1e-4)], [], id='a minimum'),
        pytest.param(
            True,
            [
                dict(type='PolyLR', end=2),
                dict(type='CosineRestartLR', begin=2, periods=[1], eta_min=0),
            ],
            [],
            id='a second part',
        ),
        pytest.param(True, [dict(type='PolyLR'), WARM_UP | dict(end=12)], [], id='fits'),
    ],
)
def test_what_a_trial_does_on_purpose_is_a_warning(tmp_path, capfd, by_epoch, schedulers, message):
    checked(tmp_path, by_epoch=by_epoch, length=3, param_scheduler=schedulers, **evaluation([0.1]))
    said = capfd.readouterr().out
    assert ('schedule and the length' in said) == bool(message)
    assert [line for line in message if line not in said] == []
