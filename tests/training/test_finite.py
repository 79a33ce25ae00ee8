"""A run whose losses or gradients are no numbers ends; weights and checkpoints stay good."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.training.toys import LossRecorder, TinyModel, build_runner, evaluation
from vitadapter_dense.checkpoints.checked_loading import read_checkpoint
from vitadapter_dense.checkpoints.files import latest_checkpoint
from vitadapter_dense.training import FiniteLossHook
from vitadapter_dense.training.finite import NotFiniteError, broken_names

HOOK = dict(type='FiniteLossHook', max_steps=3, within=50)


class BreakingModel(TinyModel):
    """A toy whose loss, gradients or weights break in the given forward passes.

    `how` is `'loss'`, `'gradients'` (of a loss that is finite) or `'infinite loss'` (whose
    gradients are finite).
    """

    def __init__(self, at: tuple[int, ...] = (), how: str = 'loss') -> None:
        super().__init__(dropout=0.0)
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
        self.at, self.how, self.passes = at, how, -1

    def forward(self, inputs: Tensor, label: Tensor, mode: str = 'loss'):
        if mode != 'loss':
            return super().forward(inputs, label, mode)
        self.passes += 1
        breaks = self.passes in self.at
        if breaks and self.how == 'loss':
            inputs = inputs * math.nan
        loss = super().forward(inputs, label, mode)['loss']
        if breaks and self.how == 'gradients':
            loss = loss + (self.head.bias * 0).abs().sqrt().sum()  # 0 with a gradient of inf * 0
        if breaks and self.how == 'infinite loss':
            loss = loss + math.inf
        return dict(loss=loss, loss_aux=torch.zeros(()))


class Weights(LossRecorder):
    """Keeps the whole state after every iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[dict[str, Tensor]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        state = runner.model.state_dict()
        self.states.append({name: value.clone() for name, value in state.items()})


def run(work_dir, model, *, hook=HOOK, length=12, error=None, **options):
    recorder = Weights()
    runner = build_runner(
        work_dir,
        model=model,
        recorder=recorder,
        by_epoch=False,
        length=length,
        hooks=[hook],
        **{'checkpoint': dict(interval=1), **options},
    )
    if error is None:
        runner.train()
    else:
        with pytest.raises(NotFiniteError, match=error):
            runner.train()
    return runner, recorder


def assert_unchanged(before, after) -> None:
    for name, value in before.items():
        if not name.endswith('num_batches_tracked'):
            assert torch.equal(value, after[name]), name


@pytest.mark.parametrize('how', ['loss', 'gradients'])
@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_a_broken_step_changes_nothing(tmp_path, capfd, how, clip):
    """Not the weights, not the moments, not the running statistics, not the log's averages."""
    optim_wrapper = dict(clip_grad=clip)
    model = BreakingModel(at=(4,), how=how)
    runner, recorder = run(tmp_path, model, optim_wrapper=optim_wrapper)
    assert_unchanged(recorder.states[3], recorder.states[4])
    assert not torch.equal(recorder.states[4]['head.weight'], recorder.states[5]['head.weight'])
    assert broken_names(recorder.states[-1], model) == []
    state = runner.optim_wrapper.optimizer.state.values()
    assert all(entry['exp_avg'].isfinite().all() for entry in state)
    assert {int(entry['step']) for entry in state} == {11}
    for name in ('loss', *(['grad_norm'] if clip else [])):
        logged = runner.message_hub.get_scalar(f'train/{name}').data[0]
        assert all(map(math.isfinite, logged))
        assert len(logged) == (11 if how == 'loss' or name == 'grad_norm' else 12)
    printed = capfd.readouterr()
    reason = 'loss = nan' if how == 'loss' else 'gradients that are not finite: those of'
    assert f'Iteration 5 has {reason}' in printed.out + printed.err


@pytest.mark.parametrize('how', ['loss', 'gradients', 'infinite loss'])
def test_several_broken_steps_end_the_run(tmp_path, how):
    found = {'loss': 'loss = nan', 'infinite loss': 'loss = inf'}.get(how, 'head.bias')
    model = BreakingModel(at=(4, 6, 7, 8), how=how)
    _, recorder = run(tmp_path, model, error=f'Iteration 8 has .*{found}.* number 3 within 50')
    assert len(recorder.states) == 7  # the hook ends the step before others see it
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'iter_7.pth')
    assert broken_names(read_checkpoint(tmp_path / 'iter_7.pth')['state_dict'], model) == []


def test_broken_steps_far_apart_do_not_end_the_run(tmp_path):
    hook = dict(HOOK, max_steps=2, within=4)
    run(tmp_path, BreakingModel(at=(1, 5, 9)), hook=hook)
    with pytest.raises(ValueError, match='max_steps=3 within=2'):
        FiniteLossHook(max_steps=3, within=2)


def test_a_short_run_that_breaks_is_not_done(tmp_path):
    run(tmp_path, BreakingModel(at=(1, 2)), length=3, error='2 of the last steps')


def test_accumulated_batches_are_one_step(tmp_path):
    """One broken batch of two spoils the gradients of both: one step is left out, and counted."""
    optim_wrapper = dict(accumulative_counts=2)
    model = BreakingModel(at=(4, 6))
    _, recorder = run(tmp_path, model, optim_wrapper=optim_wrapper)
    weights = [state['head.weight'] for state in recorder.states]
    assert torch.equal(weights[3], weights[7])
    assert not torch.equal(weights[7], weights[9])
    assert broken_names(recorder.states[-1], model) == []


def test_a_checkpoint_with_broken_weights_is_not_written(tmp_path):
    class Breaks(LossRecorder):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == 2:
                runner.model.head.weight.data[0, 3] = math.inf

    options = dict(checkpoint=dict(interval=1, max_keep_ckpts=1), by_epoch=False, length=5)
    runner = build_runner(tmp_path, recorder=Breaks(), **options)
    with pytest.raises(NotFiniteError, match=r'iter_3\.pth is not written.*head\.weight'):
        runner.train()
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_2.pth']
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'iter_2.pth')


@pytest.mark.parametrize('save_best', ['score', ['score', 'other']])
def test_what_is_no_number_is_never_the_best(tmp_path, save_best):
    options = evaluation([])
    values = [math.nan, 0.2, math.inf, 0.1]
    options['val_evaluator'].evaluate = lambda size: dict(score=values.pop(0))
    checkpoint = dict(save_best=save_best, rule='greater')
    build_runner(tmp_path, length=4, checkpoint=checkpoint, **options).train()
    assert [path.name for path in tmp_path.glob('best*')] == ['best_score_epoch_2.pth']


def test_infinities_of_other_buffers_are_no_fault():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    model.register_buffer('mask', torch.tensor(-math.inf))
    assert broken_names(model.state_dict(), model) == []
    model[0].running_var[1] = math.nan
    assert broken_names(model.state_dict(), model) == ['0.running_var']
