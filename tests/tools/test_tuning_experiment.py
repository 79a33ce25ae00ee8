"""The comparisons of tuning methods: they go on where they stopped, on held-out data."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from vitadapter_dense.datasets.shapes import generate_shapes
from vitadapter_dense.reports.tuning_transfer import summary

SCRIPTS = Path(__file__).parents[2] / 'tools' / 'experiments'


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f'{name}.py')
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
def test_experiment_runs_goes_on_and_reports(arch, tmp_path, monkeypatch) -> None:
    experiment = load('tuning_shapes')
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


def test_detectors_differ_in_method_and_rate_alone(tmp_path) -> None:
    experiment = load('tuned_detectors')
    args = experiment.parse_args(['--data-root', str(tmp_path), '--rate', '1e-3', '--iters', '9'])
    found = {name: experiment.config(name, ['dog', 'cat'], args) for name in ('full', 'lora')}
    for name, cfg in found.items():
        method, rate = experiment.METHODS[name]
        assert cfg.model.backbone.tuning == method
        factor = cfg.optim_wrapper.paramwise_cfg.custom_keys.pop('backbone').lr_mult
        assert factor * cfg.optim_wrapper.optimizer.lr == pytest.approx(rate)
        cfg.model.backbone.tuning = None
        for loader, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
            assert loader.dataset.ann_file == f'annotations/instances_{split}2017.json'
            assert loader.dataset.metainfo.classes == ['dog', 'cat']
            assert 'data/shapes' not in str(loader)
        assert 'data/shapes' not in str(cfg.test_evaluator)
        assert cfg.model.bbox_head.num_classes == 2
    assert found['full'].model == found['lora'].model
    assert found['full'].optim_wrapper == found['lora'].optim_wrapper


@pytest.mark.slow
def test_classifiers_of_objects_go_on_and_are_compared_on_the_same_runs(
    tmp_path, monkeypatch, capsys
) -> None:
    experiment = load('tuning_crops')
    shapes, data, out = tmp_path / 'shapes', tmp_path / 'coco', tmp_path / 'out'
    generate_shapes(shapes, num_train=16, num_val=8, size=96, seed=0)
    (data / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (data / f'{split}2017').symlink_to(shapes / split)
        name = f'annotations/instances_{split}'
        (data / f'{name}2017.json').symlink_to(shapes / f'{name}.json')
    monkeypatch.setattr(experiment, 'WEIGHTS', False)  # random ones
    monkeypatch.setattr(experiment, 'CORRUPTIONS', ('gaussian_noise', 'contrast'))
    for name, value in dict(NUM_CLASSES=3, NUM_FOLDS=2, MIN_SIZE=16).items():
        monkeypatch.setattr(experiment, name, value)
    call = ['--data-root', str(data), '--out', str(out), '--steps', '2', '--size', '32']
    call += ['--rates', '1e-3', '1e-2', '--seeds', '0', '--methods']
    methods = ['full', 'head_only', 'lora', 'vpt_pad']
    assert experiment.main([*call, *methods, '--minutes', '0']) == 0
    assert 'search of rates is not done' in capsys.readouterr().out
    assert experiment.main([*call, *methods[:2]]) == 0
    before = (out / 'full.json').read_bytes()
    assert experiment.main([*call, *methods]) == 0
    assert (out / 'full.json').read_bytes() == before, 'done runs are not redone'
    runs = {name: json.loads((out / f'{name}.json').read_text()) for name in methods}
    assert all(len(kept) == 2 + 2 for kept in runs.values()), 'rates, then folds'
    final = {name: list(kept.values())[2:] for name, kept in runs.items()}
    totals = [[fold['total'] for fold in folds] for folds in final.values()]
    assert all(each == totals[0] for each in totals), 'the same objects for all'
    for folds in final.values():
        assert list(folds[0]['right']) == ['clean', 'gaussian_noise', 'contrast']
        assert folds[0]['trained_on'] == folds[1]['total'], 'two folds, one for each use'
    counts = {name: folds[0]['backbone_parameters'] for name, folds in final.items()}
    assert counts['head_only'] == 0 < counts['vpt_pad'] < counts['full']
    assert f'| lora | {counts["lora"]:,} |' in (out / 'table.md').read_text()
    assert (out / 'plot.png').stat().st_size > 5000
