"""The comparison of tuning methods on objects: values by hand, and what counts as a difference."""

from __future__ import annotations

import numpy as np
import pytest

from vitadapter_dense.reports.crop_transfer import (
    Folds,
    best_rates,
    crop_rows,
    crop_table,
    difference,
    draw_crops,
    group_line,
    search_table,
    shot_groups,
)


def result(clean, fog, *, loss=1.0, parameters=7):
    return dict(
        right=dict(clean=clean, fog=fog, snow=[0, 0, 0]),
        total=[10, 4, 0],
        trained_on=[200, 30, 5],
        loss=loss,
        backbone_parameters=parameters,
        head_parameters=3,
        seconds=1.0,
    )


def test_rows_by_hand() -> None:
    results = {
        ('full', 0.1, 0, 0): result([10, 4, 0], [5, 2, 0]),
        ('full', 0.1, 0, 1): result([8, 2, 0], [5, 2, 0]),
        ('full', 0.1, 1, 0): result([3, 4, 0], [5, 2, 0]),
        ('lora', 0.2, 0, 0): result([10, 4, 0], [10, 4, 0]),
        ('lora', 0.2, 0, 1): result([10, 4, 0], [10, 4, 0]),
        ('lora', 0.2, 1, 0): result([10, 4, 0], [10, 4, 0]),
    }
    full, lora = crop_rows(results)
    # the seeds of a fold are one value, whatever their number
    assert full['clean'].values == pytest.approx([100 * 12 / 14, 50])
    assert full['balanced'].values == pytest.approx([(100 + 65) / 2, 65])
    assert full['corrupted'].mean == pytest.approx(25)
    assert full['many'].values == pytest.approx([90, 30])
    assert np.isnan(full['few'].values).all()  # no such object was tested
    assert lora['corrupted_difference'] == '+25.0'
    assert lora['clean_difference'].startswith('none (+32')  # full's folds are 35.7 apart
    assert '| lora | 7 | 0.2 | 100.0 (100.0 to 100.0) |' in crop_table([full, lora])
    line = group_line(results, ('dog', 'cat', 'cow'))
    assert line.endswith('many: dog 200; medium: cat 30; few: cow 5.')
    assert len(draw_crops([full, lora]).axes) == 1


def test_limits() -> None:
    assert shot_groups([101, 100, 21, 20]) == dict(many=[0], medium=[1, 2], few=[3])
    one, other = Folds(np.array([10.0, 20.0])), Folds(np.array([24.0, 26.0]))
    assert difference(other, one) == '+10.0'
    assert difference(Folds(np.array([23.0, 25.0])), one) == 'none (+9.0)'
    assert difference(Folds(np.array([90.0])), Folds(np.array([10.0]))) == '(+80.0)'


def test_rate_of_the_highest_accuracy_then_the_lowest_loss() -> None:
    runs = {
        ('a', 0.1, 4, 0): result([9, 4, 0], [0, 0, 0], loss=2.0),
        ('a', 0.2, 4, 0): result([9, 4, 0], [0, 0, 0], loss=1.0),
        ('a', 0.3, 4, 0): result([9, 4, 0], [0, 0, 0], loss=float('nan')),
        ('a', 0.4, 4, 0): result([8, 4, 0], [0, 0, 0], loss=0.1),
    }
    assert best_rates(runs) == dict(a=0.2)
    shown = search_table(runs | {('b', 0.3, 4, 0): None}).splitlines()
    assert shown[0] == '| method | 0.1 | 0.2 | 0.3 | 0.4 |'
    assert shown[2:] == ['| a | 92.9 | 92.9 | 92.9 | 85.7 |', '| b | - | - | - | - |']
