"""tools/analysis/benchmark_loader.py: what loading takes, and where."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from tiny_detection import TinyTask, run_tool

from vitadapter_dense.reports import transform_times
from vitadapter_dense.reports.transform_times import Spent, TransformTimes, format_times


def test_a_transform_has_what_it_does_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(time=0.0)
    monkeypatch.setattr(transform_times, 'now', lambda: Spent(clock.time, 2 * clock.time))

    class Load:
        def __call__(self, data: list) -> list:
            clock.time += 3
            return [*data, 'loaded']

    class Choice:
        def __init__(self, *transforms: object) -> None:
            self.transforms = [list(transforms)]

        def __call__(self, data: list) -> list:
            clock.time += 1
            for transform in self.transforms[0]:
                data = transform(data)
            return data

    dataset = SimpleNamespace(pipeline=SimpleNamespace(transforms=[Load(), Choice(Load())]))
    outer = SimpleNamespace(dataset=dataset, pipeline=dataset.pipeline)  # as wrappers hand it on
    times = TransformTimes(outer)
    data: list = []
    for step in dataset.pipeline.transforms:
        data = step(data)
    assert data == ['loaded', 'loaded']
    assert times.spent == dict(Load=Spent(6, 12), Choice=Spent(1, 2))
    table = format_times(times.spent, images=2)
    assert re.search(r'^Load +3000\.00 +85\.7% +6000\.00$', table, re.MULTILINE)
    assert re.search(r'^sum +3500\.00 +100\.0% +7000\.00$', table, re.MULTILINE)


def test_the_loader_of_a_configuration_is_timed(tiny_task: TinyTask) -> None:
    arguments = ['--batches', 2, '--workers', 0, 1]
    for split, more in (('train', ['--step', 1000]), ('val', ['--step', 1e-9])):
        options = [*arguments, '--split', split, *more]
        status, printed = run_tool('analysis/benchmark_loader.py', tiny_task.config, *options)
        assert status == 0
        rows = {row.split()[0]: row.split() for row in printed.splitlines() if '%' in row}
        parts = [float(row[-3]) for name, row in rows.items() if name != 'sum']
        assert set(rows) >= {'LoadImageChecked', 'LoadAnnotations', 'Resize', 'PackDetInputs'}
        assert sum(parts[:-1]) < float(rows['sum'][-3])
        verdict = 'keeps up' if split == 'train' else 'waits'
        found = re.findall(rf'^ +([01]) +[\d.]+ +[\d.]+  {verdict}', printed, re.MULTILINE)
        assert found == ['0', '1']
