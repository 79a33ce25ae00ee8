"""The means under corruption against sums by hand."""

from __future__ import annotations

import math

import pytest

from vitadapter_dense.datasets.corruption import CORRUPTIONS, SEVERITIES
from vitadapter_dense.reports.robustness import (
    ALEXNET_ERRORS,
    CLEAN,
    robustness_figure,
    robustness_lines,
    robustness_of,
)


def test_means_by_hand():
    results = {
        CLEAN: {'mIoU': 50.0, 'aAcc': 90.0},
        ('fog', 1): {'mIoU': 40.0, 'aAcc': 80.0},
        ('fog', 5): {'mIoU': 20.0, 'aAcc': 70.0},
        ('snow', 1): {'mIoU': 10.0, 'aAcc': 60.0},
    }
    (found,) = robustness_of(results, [])
    assert found.metric == 'mIoU'
    assert found.mean_of('fog') == 30
    assert found.mean == 20  # of the corruptions' means: not of the three values
    assert found.relative == 0.4
    assert found.corruption_error is None
    lines = robustness_lines(found)
    assert lines[-1] == 'mPC 20.000, rPC 40.0% of the clean value'
    assert lines[3].split() == ['snow', '10.000', '-', '10.000']
    assert [one.metric for one in robustness_of(results, ['aAcc', 'mIoU'])] == ['aAcc', 'mIoU']
    with pytest.raises(ValueError, match=r"no metric 'IoU'; there are mIoU, aAcc"):
        robustness_of(results, ['IoU'])
    blind = robustness_of({CLEAN: {'mIoU': 50.0}, ('fog', 1): {}}, [])
    assert blind[0].mean == 0  # a detector that finds no object
    with pytest.raises(ValueError, match='finds nothing'):
        robustness_of({CLEAN: {}, ('fog', 1): {}}, [])
    nothing = robustness_of({CLEAN: {'mIoU': 0.0}, ('fog', 1): {'mIoU': 0.0}}, [])
    assert math.isnan(nothing[0].relative)
    robustness_figure([found, *nothing])


def test_corruption_error_is_relative_to_alexnet():
    conditions = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    results = {CLEAN: {'accuracy/top1': 56.5}}
    for name, severity in conditions:
        error = (
            ALEXNET_ERRORS[name] + (severity - 3) * 0.01
        )  # the mean over severities is AlexNet's
        results[name, severity] = {'accuracy/top1': 100 * (1 - error)}
    (found,) = robustness_of(results, [], num_classes=1000)
    assert found.corruption_error == pytest.approx(1)
    assert robustness_of(results, [], num_classes=5)[0].corruption_error is None
    halved = {
        key: {'accuracy/top1': 100 - (100 - v['accuracy/top1']) / 2} for key, v in results.items()
    }
    assert robustness_of(halved, [], num_classes=1000)[0].corruption_error == pytest.approx(0.5)
    del results[conditions[0]]
    assert robustness_of(results, [], num_classes=1000)[0].corruption_error is None
