"""What trains nothing is found at the first step: errors for methods, a warning for the rest."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.training.toys import LossRecorder, TinyModel, build_runner
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.idle_parameters import check_gradients
from vitadapter_dense.tuning import Tuning, TuningList


class Method(Tuning):
    """Has two weights of its own, and trains of the backbone what is told."""

    def __init__(self, trains: str = '-', *, own: bool = True) -> None:
        super().__init__()
        self.trains = trains
        self.prompts = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(2 * own))

    def trainable(self, name, parameter):
        return name.startswith(self.trains)


class Other(Method):
    """Another kind."""


class Model(nn.Module):
    """A tuned backbone of two layers, a neck and a head."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(tuning.trainable(name, parameter))
        self.backbone.tuning = tuning
        self.neck = nn.Linear(2, 2)
        self.head = nn.Linear(2, 2)


def with_gradients(tuning: Tuning, *parts: str) -> Model:
    """Gradients of zero for the parameters whose names start so."""
    model = Model(tuning)
    for name, parameter in model.named_parameters():
        if name.startswith(parts) and parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    return model


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(
        'vitadapter_dense.training.idle_parameters.print_log', lambda text, **_: said.append(text)
    )
    return said


OWN, HEAD = 'backbone.tuning', ('head', 'neck')
IDLE = {
    'an own parameter': (Method(), ('backbone.tuning.prompts.0', *HEAD), 'prompts.1'),
    'all that it chose': (Method('1', own=False), HEAD, 'backbone.1.weight, backbone.1.bias'),
    'one of two methods': (
        TuningList([Other('0', own=False), Method('1', own=False)]),
        ('backbone.0', *HEAD),
        'backbone.1.weight',
    ),
}


@pytest.mark.parametrize('case', IDLE)
def test_a_method_that_trains_nothing_ends_the_run(case):
    tuning, parts, named = IDLE[case]
    with pytest.raises(SettingsError, match=f'Method trains nothing .*{named}.*in_index'):
        check_gradients(with_gradients(tuning, *parts))


def test_gradients_of_zero_are_no_fault_and_other_idle_parts_are_warned_of(warnings):
    check_gradients(with_gradients(Method('0'), 'backbone', *HEAD))
    assert warnings == []
    check_gradients(with_gradients(Method('0'), OWN, 'backbone.0.weight', 'head'))
    (said,) = warnings
    assert '3 tensors (backbone.0.bias, neck.weight, neck.bias)' in said
    assert 'find_unused_parameters=True' in said


def test_a_gradient_in_any_process_is_one(monkeypatch, warnings):
    """Processes may choose other prompts for their images."""
    gather = 'vitadapter_dense.training.idle_parameters.all_gather_object'
    monkeypatch.setattr(gather, lambda own: [own, ['backbone.tuning.prompts.0', 'neck.bias']])
    check_gradients(with_gradients(Method(), 'backbone.tuning.prompts.0', 'head'))
    (said,) = warnings
    assert '1 tensors (neck.bias)' in said


class HalfUsed(TinyModel):
    """Has a tuning method, which acts only on batches of the given numbers (from 0)."""

    def __init__(self, used_in: tuple[int, ...]) -> None:
        super().__init__(dropout=0.0)
        self.backbone.tuning = Method()
        self.used_in, self.batch = used_in, 0
        self.spare = nn.Linear(1, 1)

    def forward(self, inputs, label, mode='loss'):
        losses = super().forward(inputs, label, mode)
        if mode == 'loss' and self.batch in self.used_in:
            losses['loss'] = losses['loss'] + sum(self.backbone.tuning.prompts).sum()
        self.batch += 1
        return losses


@pytest.mark.parametrize('used_in', [(0,), (1,), (2,)])
def test_the_first_whole_step_is_looked_at_once(used_in, tmp_path, warnings):
    """Two passes make a step; what comes after it is not looked at."""
    recorder = LossRecorder()
    model = HalfUsed(used_in)
    model.backbone.__class__ = _Backbone
    runner = build_runner(
        tmp_path,
        model=model,
        length=1,
        recorder=recorder,
        optim_wrapper=dict(accumulative_counts=2),
    )
    before = model.head.weight.clone()
    if used_in == (2,):
        with pytest.raises(SettingsError, match='Method trains nothing with 2 tensors'):
            runner.train()
        assert torch.equal(model.head.weight, before)
    else:
        runner.train()
        assert len(recorder.losses) == 4
        (said,) = warnings
        assert '(spare.weight, spare.bias)' in said
    if used_in == (0,):
        assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks


def test_a_step_that_is_left_out_because_of_nan_says_nothing(tmp_path, warnings):
    """The optimiser is given no gradient at all for it; the next one is looked at."""
    model = HalfUsed((0, 1))
    model.backbone.__class__ = _Backbone
    factors = iter((math.nan, 1.0, 1.0, 1.0))
    model.head.register_forward_hook(lambda _module, _args, out: out * next(factors))
    finite = dict(type='FiniteLossHook')
    build_runner(tmp_path, model=model, length=1, hooks=[finite]).train()
    assert len(warnings) == 1
    assert '(spare.weight, spare.bias)' in warnings[0]


class _Backbone(nn.Sequential):
    """Layers in a row, and a method that is none of them."""

    def forward(self, x):
        for name, layer in self.named_children():
            x = x if name == 'tuning' else layer(x)
        return x
