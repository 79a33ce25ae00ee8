"""The comparison of heads at one budget, and the ten images that each must learn."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from vitadapter_cli import config_path
from vitadapter_dense.command_line.config import set_iterations
from vitadapter_dense.encoders import TimmViT
from vitadapter_dense.reports.head_comparison import comparison_table, draw_comparison, percent

SCRIPTS = Path(__file__).parents[2] / 'tools' / 'experiments'


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shapes(kind: str) -> Config:
    return Config.fromfile(config_path(f'shapes/{kind}'))


def result(**scores: list[float]) -> dict:
    sizes = dict(trained=500_000, parameters=2_000_000, flops=1.5e9)
    return dict(scores=scores, **sizes, step_seconds=0.2, image_seconds=0.05)


def test_schedules_and_masks_follow_the_length() -> None:
    cfg = shapes('pmt_xs_panoptic')
    set_iterations(cfg, 500)
    warm_up, cosine = cfg.param_scheduler
    assert (cfg.train_cfg.max_iters, cosine.end, cosine.T_max) == (500, 500, 500)
    assert warm_up.end == 50
    (hook,) = cfg.custom_hooks
    assert (hook.start, hook.end) == ([0, 150, 250], [100, 250, 350])
    set_iterations(cfg, 2)
    assert all(start < end for start, end in zip(hook.start, hook.end, strict=True))


def test_kinds_have_the_same_budget_images_and_encoder() -> None:
    experiment = load('compare_heads')
    for kind in ('dino_vitadapter_xs', 'mask2former_vitadapter_xs_panoptic', 'eomt_xs'):
        cfg = experiment.at_budget(shapes(kind), iters=90, size=128, encoder=Path('start.pth'))
        assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == 90, kind
        assert cfg.train_dataloader.batch_size == 4, kind
        assert cfg.model.backbone.encoder.pretrained == 'start.pth', kind
        assert '192' not in str(cfg.train_dataloader.dataset.pipeline), kind
        assert '(192, 192)' not in str(cfg.model), kind


def test_ten_images_are_validated_on_what_they_are_trained_on(tmp_path) -> None:
    experiment = load('ten_images')
    root = tmp_path / 'eval' / 'val'  # the folder's own name stays
    for kind in ('pmt_xs_panoptic', 'eomt_xs', 'atss_vitadapter_xs'):
        cfg = experiment.on_ten_images(shapes(kind), root, iters=20)
        train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
        assert val.data_prefix == train.data_prefix, kind
        assert val.get('ann_file') == train.get('ann_file'), kind
        assert val.data_root == f'{root}/', kind
        assert 'RandomFlip' not in str(train.pipeline), kind
        evaluators = (
            cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
        )
        for each in evaluators:
            named = [each[key] for key in ('ann_file', 'seg_prefix') if key in each]
            assert all(str(path).startswith(f'{root}/') for path in named)
            assert not any('val' in path.removeprefix(str(root)) for path in named), kind


def test_table_shows_each_kind_with_its_own_scores_in_percent() -> None:
    found = percent({'coco/bbox_mAP': 0.25, 'coco_panoptic/PQ': 40.0, 'coco/bbox_mAP_50': 0.9})
    assert found == {'box mAP': 25.0, 'PQ': 40.0}
    results = dict(a=result(**{'box mAP': [1.0, 25.0]}), b=result(mIoU=[30.0, 40.0]))
    assert comparison_table(results).splitlines() == [
        '| kind | box mAP | mIoU | trained / all, M | GFLOPs | s a step | s an image |',
        '|---|---|---|---|---|---|---|',
        '| a | 1.0 → 25.0 |  | 0.50 / 2.00 | 1.50 | 0.200 | 0.050 |',
        '| b |  | 30.0 → 40.0 | 0.50 / 2.00 | 1.50 | 0.200 | 0.050 |',
    ]
    figure = draw_comparison(results)
    assert [axes.get_ylabel() for axes in figure.axes] == ['box mAP (%)', 'mIoU (%)']
    ends = [axes.lines[-1].get_xydata().tolist() for axes in figure.axes]
    assert ends == [[[0.05, 25.0]], [[0.05, 40.0]]]


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (['--iters', '2'], 'no third'),
        (['--size', '100'], 'multiple of 32'),
        (['--num-val', '3'], 'times need 4'),
        (['--encoder', 'nowhere.pth'], 'make train'),
        (['--kinds', 'pmt'], "invalid choice: 'pmt'"),
    ],
)
def test_comparison_refuses_what_cannot_be_compared(option, message, tmp_path, capsys) -> None:
    encoder = tmp_path / 'encoder.pth'
    encoder.touch()
    with pytest.raises(SystemExit):
        load('compare_heads').parse_args(['--encoder', str(encoder), *option])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_comparison_runs_goes_on_and_reports(tmp_path) -> None:
    cfg = shapes('pmt_xs').model.backbone.encoder
    options = {key: cfg[key] for key in cfg if key not in ('type', 'frozen', 'pretrained')}
    encoder = TimmViT(**options)
    weights = {f'backbone.encoder.{name}': value for name, value in encoder.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'encoder.pth')
    experiment, out = load('compare_heads'), tmp_path / 'out'
    call = ['--encoder', str(tmp_path / 'encoder.pth'), '--out', str(out), '--size', '64']
    call += ['--iters', '3', '--num-train', '8', '--num-val', '4', '--kinds']
    assert experiment.main([*call, 'pmt_xs']) == 0
    first = out / 'pmt_xs_3_64.json'
    frozen, written = json.loads(first.read_text()), first.stat().st_mtime_ns
    assert experiment.main([*call, 'pmt_xs', 'eomt_xs_panoptic']) == 0
    assert first.stat().st_mtime_ns == written, 'done runs are not redone'
    tuned = json.loads((out / 'eomt_xs_panoptic_3_64.json').read_text())
    assert frozen['parameters'] - frozen['trained'] == sum(p.numel() for p in encoder.parameters())
    assert tuned['trained'] == tuned['parameters']
    assert len(frozen['scores']['mIoU']) == len(tuned['scores']['PQ']) == 2, 'a third and the end'
    assert min(frozen['flops'], frozen['image_seconds'], tuned['step_seconds']) > 0
    assert '| eomt_xs_panoptic |' in (out / 'table.md').read_text()
    assert (out / 'plot.png').stat().st_size > 5000
