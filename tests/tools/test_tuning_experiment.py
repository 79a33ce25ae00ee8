"""The comparison of tuning methods: it goes on where it stopped, picks rates on held-out data."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from vitadapter_dense.reports.tuning_transfer import summary

SCRIPT = Path(__file__).parents[2] / 'tools' / 'experiments' / 'tuning_shapes.py'


@pytest.fixture(scope='module')
def experiment():
    spec = importlib.util.spec_from_file_location('tuning_shapes', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rate_is_chosen_on_the_selection_split_and_reported_on_the_other() -> None:
    def run(select: float, test: float) -> dict[str, float]:
        return dict(select=select, test=test, backbone_parameters=7, head_parameters=3, seconds=1.0)

    rows = summary(
        {
            ('lora', 0.1, 0): run(0.5, 0.4),
            ('lora', 0.1, 1): run(0.7, 0.6),
            ('lora', 0.2, 0): run(0.9, 0.0),
            ('lora', 0.2, 1): run(0.1, 0.99),
        }
    )
    assert [(row['method'], row['rate']) for row in rows] == [('lora', 0.1)]
    assert rows[0]['mean'] == pytest.approx(0.5)
    assert rows[0]['spread'] == pytest.approx(0.2)


@pytest.mark.slow
@pytest.mark.parametrize('arch', ['resnet', 'vit'])
def test_experiment_runs_goes_on_and_reports(experiment, arch, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(experiment, 'SPLITS', dict(train=(16, 10), select=(4, 11), test=(4, 12)))
    monkeypatch.setattr(experiment, 'PICTURES', dict(count=60, unseen=10))
    methods = ['full', 'head_only', 'lora', 'mlp_head']
    call = ['--out', str(tmp_path), '--arch', arch, '--steps', '2', '--pretrain-steps', '2']
    call += ['--rates', '1e-3', '--seeds', '0', '1', '--methods']
    assert experiment.main([*call, *methods[:2]]) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob('*.json')}
    assert len(before) == 4
    weights = next(tmp_path.glob('pretrained_*.pth'))
    trained_at = weights.stat().st_mtime_ns

    assert experiment.main([*call, *methods]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before, 'done runs are not redone'
    assert weights.stat().st_mtime_ns == trained_at
    runs = {path.name: json.loads(path.read_text()) for path in tmp_path.glob('*.json')}
    assert len(runs) == 8
    by_method = {name.split(f'{arch}_')[1].split('_0.001')[0]: run for name, run in runs.items()}
    counts = {method: by_method[method]['backbone_parameters'] for method in methods}
    assert counts['head_only'] == 0 < counts['lora'] < counts['full']
    assert len({run['head_parameters'] for run in runs.values()}) == 1, 'one head for all'
    table = (tmp_path / 'table.md').read_text()
    assert all(f'| {method} | {counts[method]:,} |' in table for method in methods)
    assert (tmp_path / 'plot.png').stat().st_size > 5000
