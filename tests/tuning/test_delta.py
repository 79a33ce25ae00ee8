"""Deltas: what they hold, that they give the same model back, and whom they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from tests.training.toys import TinyModel, build_runner, evaluation
from vitadapter_dense.checkpoints.checked_loading import WeightsError, load_checked, read_checkpoint
from vitadapter_dense.tuning.delta import complete_state_dict, is_delta

TRUNK = dict(
    type='TimmStages',
    model_name='resnet18',
    channels=(8, 8, 16, 16),
    stem_width=8,
    layers=(1, 1, 1, 1),
)


class TunedModel(TinyModel):
    """A tuned ResNet and a head on what it makes of the points."""

    def __init__(self, tuning: dict, pretrained: str | None = None) -> None:
        super().__init__()
        trunk = dict(TRUNK, pretrained=pretrained or False)
        self.backbone = MODELS.build(dict(type='TunedBackbone', backbone=trunk, tuning=tuning))
        self.dropout = nn.Identity()
        self.head = nn.Linear(16, 1)

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss'):
        images = inputs[:, None, None, :].repeat(1, 3, 33, 6)
        scores = self.head(self.backbone(images)[-1].mean((2, 3))).squeeze(-1)
        if mode == 'loss':
            return dict(loss=(scores - label).square().mean())
        return [dict(score=score) for score in scores]


def pretrained_file(folder: Path, seed: int = 1) -> str:
    torch.manual_seed(seed)
    path = folder / f'trunk{seed}.pth'
    torch.save(MODELS.build(TRUNK).model.state_dict(), path)
    return str(path)


METHODS = {
    'pro': dict(type='ProTuning'),
    'norm': dict(type='NormTuning'),
    'lora': [dict(type='LoRA', rank=2), dict(type='BiasTuning')],
    'head_only': dict(type='HeadOnly'),
}


def train(folder: Path, tuning, pretrained: str | None, **options):
    model = dict(type=TunedModel, tuning=tuning, pretrained=pretrained)
    checkpoint = dict(type='TunedCheckpointHook')
    runner = build_runner(folder, model=model, checkpoint=checkpoint, length=2, **options)
    runner.train()
    return runner.bare_model.eval()


def scores(model: nn.Module) -> Tensor:
    inputs = torch.linspace(-1, 1, 24).view(4, 6)
    with torch.no_grad():
        return torch.stack([s['score'] for s in model.eval()(inputs, None, mode='predict')])


@pytest.mark.parametrize('method', METHODS)
def test_a_delta_gives_the_same_model_back(tmp_path, method):
    source = pretrained_file(tmp_path)
    trained = train(tmp_path / 'run', METHODS[method], source)
    path = tmp_path / 'run' / 'tuned_epoch_2.pth'
    delta = torch.load(path, weights_only=True)
    assert is_delta(delta)
    assert delta['meta']['epoch'] == 2
    # what it holds: all that trains and the head, no frozen parameter
    trains = {name for name, p in trained.named_parameters() if p.requires_grad}
    frozen = {name for name, p in trained.named_parameters() if not p.requires_grad}
    assert trains <= delta['state_dict'].keys()
    assert not frozen & delta['state_dict'].keys()
    statistics = 'backbone.model.bn1.running_mean'
    assert (statistics in delta['state_dict']) == (method in ('norm', 'lora'))

    torch.manual_seed(123)
    model = TunedModel(METHODS[method], source)
    state = complete_state_dict(model, delta, path)
    load_checked(model, state, min_share=1.0)
    assert torch.equal(scores(model), scores(trained))
    whole = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, whole['state_dict'][name]), name

    runner = build_runner(
        tmp_path / 'again',
        model=dict(type=TunedModel, tuning=METHODS[method], pretrained=source),
        load_from=str(path),
        **evaluation([0.5]),
    )
    runner.val()
    assert torch.equal(scores(runner.bare_model), scores(trained))


def test_training_goes_on_from_a_delta_with_the_same_base(tmp_path):
    source = pretrained_file(tmp_path)
    train(tmp_path / 'run', METHODS['pro'], source)
    first = str(tmp_path / 'run' / 'tuned_epoch_2.pth')
    train(tmp_path / 'more', METHODS['pro'], source, load_from=first)
    second = read_checkpoint(tmp_path / 'more' / 'tuned_epoch_2.pth')['delta']
    assert second['base'] == dict(pretrained={'backbone': source})
    assert second['hash'] == read_checkpoint(first)['delta']['hash']


def test_the_base_can_be_a_checkpoint_and_be_moved_beside_the_delta(tmp_path):
    torch.manual_seed(5)
    base = tmp_path / 'whole.pth'
    torch.save(dict(state_dict=TunedModel(dict(type='HeadOnly')).state_dict()), base)
    trained = train(tmp_path / 'run', METHODS['pro'], None, load_from=str(base))
    path = tmp_path / 'run' / 'tuned_epoch_2.pth'
    assert read_checkpoint(path)['delta']['base'] == dict(checkpoint=str(base))
    base.rename(path.parent / base.name)
    model = TunedModel(METHODS['pro'])
    load_checked(model, complete_state_dict(model, read_checkpoint(path), path), min_share=1.0)
    assert torch.equal(scores(model), scores(trained))
    averages = [dict(type='EMAHook')]  # it loads what the run starts from, too
    train(tmp_path / 'more', METHODS['pro'], None, load_from=str(path), hooks=averages)
    model = TunedModel(METHODS['pro'])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save(dict(state_dict=TunedModel(METHODS['pro']).state_dict()), path.parent / base.name)
    with pytest.raises(WeightsError, match=r'for other base weights .*whole\.pth'):
        complete_state_dict(model, read_checkpoint(path), path)
    base.write_bytes((path.parent / base.name).read_bytes())
    with pytest.raises(WeightsError, match=r'for other base weights .*whole\.pth'):
        model.load_state_dict(torch.load(path, weights_only=True)['state_dict'])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    base.unlink()
    (path.parent / base.name).unlink()
    with pytest.raises(WeightsError, match=r'needs its base weights.*whole\.pth'):
        complete_state_dict(TunedModel(METHODS['pro']), read_checkpoint(path), path)


def test_wrong_bases_and_incomplete_deltas_are_refused(tmp_path):
    source = pretrained_file(tmp_path)
    train(tmp_path / 'run', METHODS['pro'], source)
    path = tmp_path / 'run' / 'tuned_epoch_2.pth'
    delta = read_checkpoint(path)
    other = TunedModel(METHODS['pro'], pretrained_file(tmp_path, seed=2))
    with pytest.raises(WeightsError, match=r'other base weights .*trunk1\.pth'):
        complete_state_dict(other, delta, path)
    beheaded = dict(
        delta, state_dict={k: v for k, v in delta['state_dict'].items() if 'head' not in k}
    )
    with pytest.raises(WeightsError, match=r"lacks 2 of its .*'head\.weight'"):
        complete_state_dict(TunedModel(METHODS['pro'], source), beheaded, path)
    for name in ('norm', 'head_only'):  # what was tuned would be dropped unnoticed
        with pytest.raises(WeightsError, match=r'another tuning method.*prompt_blocks'):
            complete_state_dict(TunedModel(METHODS[name], source), delta, path)
        with pytest.raises(WeightsError, match=r'another tuning method.*prompt_blocks'):
            TunedModel(METHODS[name], source).load_state_dict(delta['state_dict'])
    with pytest.raises(WeightsError, match=r'another tuning method.* in the shape \(8, 4, 1, 1\)'):
        complete_state_dict(TunedModel(dict(type='ProTuning', groups=2), source), delta, path)
    more = dict(delta['delta'], frozen=[*delta['delta']['frozen'], 'backbone.stem'])
    with pytest.raises(WeightsError, match="of another model: 'backbone.stem'"):
        complete_state_dict(TunedModel(METHODS['pro'], source), dict(delta, delta=more), path)


def test_deltas_come_and_go_with_their_checkpoints(tmp_path):
    source = pretrained_file(tmp_path)
    model = dict(type=TunedModel, tuning=METHODS['pro'], pretrained=source)
    checkpoint = dict(type='TunedCheckpointHook', save_best='score', rule='greater')
    options = dict(checkpoint=checkpoint, length=3, **evaluation([0.1, 0.3, 0.2]))
    build_runner(tmp_path / 'run', model=model, **options).train()
    files = {path.name for path in (tmp_path / 'run').glob('*.pth')}
    whole = {name for name in files if not name.startswith('tuned_')}
    assert whole == {'epoch_2.pth', 'epoch_3.pth', 'best_score_epoch_2.pth'}
    assert files - whole == {f'tuned_{name}' for name in whole}


def test_a_resumed_run_keeps_its_base(tmp_path):
    base = tmp_path / 'whole.pth'
    torch.save(dict(state_dict=TunedModel(dict(type='HeadOnly')).state_dict()), base)
    train(tmp_path / 'run', METHODS['pro'], None, load_from=str(base))
    before = read_checkpoint(tmp_path / 'run' / 'tuned_epoch_2.pth')['delta']
    runner = build_runner(
        tmp_path / 'run',
        model=dict(type=TunedModel, tuning=METHODS['pro']),
        checkpoint=dict(type='TunedCheckpointHook'),
        length=3,
        resume=True,
    )
    runner.train()
    after = read_checkpoint(tmp_path / 'run' / 'tuned_epoch_3.pth')['delta']
    assert (after['base'], after['hash']) == (before['base'], before['hash'])


def test_errors_before_training(tmp_path):
    with pytest.raises(WeightsError, match='has no base weights'):
        train(tmp_path / 'run', METHODS['pro'], None)
    with pytest.raises(WeightsError, match='models with a tuning method'):
        build_runner(tmp_path / 'plain', checkpoint=dict(type='TunedCheckpointHook')).train()


def test_report_tells_what_trains_and_what_it_costs(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'vitadapter_dense.reports.tuning_report.print_log', lambda text, **_: said.append(text)
    )
    model = dict(type=TunedModel, tuning=METHODS['lora'], pretrained=pretrained_file(tmp_path))
    runner = build_runner(tmp_path / 'run', model=model, hooks=[dict(type='TuningReportHook')])
    runner.train()
    table, measured = said
    backbone = runner.bare_model.backbone
    trainable = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    (row,) = [line for line in table.splitlines() if line.startswith('backbone ')]
    assert f'{trainable:,}' in row
    assert 'backbone: can be merged' in table
    assert float(measured.split('peak memory ')[1].split(' MiB')[0].replace(',', '')) > 50
