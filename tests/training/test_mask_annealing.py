"""The schedule by which masked attention goes away, and the hook that follows it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from vitadapter_dense.training import mask_annealing
from vitadapter_dense.training.errors import SettingsError
from vitadapter_dense.training.mask_annealing import MaskAnnealingHook

# EoMT, configs/dinov3/ade20k/semantic/eomt_large_512.yaml.
START, END = [0, 6520, 9780, 13040], [3000, 9780, 13040, 16300]


class Decoder(nn.Module):
    mask_probabilities = (0.0,) * 4


def runner(iteration=0, *, model=None, length=20208):
    return SimpleNamespace(
        model=model or nn.ModuleDict(dict(decoder=Decoder())), iter=iteration, max_iters=length
    )


def at(iteration):
    """The probabilities at an iteration, of a hook that was made there: a resumed run's."""
    hook, run = MaskAnnealingHook(START, END), runner(iteration)
    hook.before_train(run)
    hook.before_train_iter(run, 0)
    return run.model['decoder'].mask_probabilities


def test_masks_open_block_by_block():
    assert at(0) == [1.0, 1.0, 1.0, 1.0]
    assert at(1500) == [pytest.approx(0.5**0.9), 1.0, 1.0, 1.0]
    assert at(6520) == [0.0, 1.0, 1.0, 1.0]
    assert at(8150) == [0.0, pytest.approx(0.5**0.9), 1.0, 1.0]
    assert at(16299) == [0.0, 0.0, 0.0, pytest.approx((1 / 3260) ** 0.9)]
    assert at(16300) == [0.0] * 4


def test_resumed_run_goes_on_where_it_was():
    hook, run = MaskAnnealingHook(START, END), runner()
    hook.before_train(run)
    for iteration in range(0, 16000, 1000):
        run.iter = iteration
        hook.before_train_iter(run, 0)
        assert run.model['decoder'].mask_probabilities == at(iteration)


def test_schedule_that_cannot_be_followed_is_refused():
    with pytest.raises(ValueError, match=r'start=\[0\] and end=\[3000, 9780'):
        MaskAnnealingHook([0], END)
    with pytest.raises(ValueError, match='every start from 0 on and before its end'):
        MaskAnnealingHook([5], [5])
    with pytest.raises(SettingsError, match='no decoder with masked attention'):
        MaskAnnealingHook(START, END).before_train(runner(model=nn.Linear(1, 1)))
    with pytest.raises(SettingsError, match=r'2 blocks in start=\[0, 1\], but Decoder has 4'):
        MaskAnnealingHook([0, 1], [1, 2]).before_train(runner())


def test_training_that_ends_before_all_masks_are_open_is_warned_of(monkeypatch):
    said = []
    monkeypatch.setattr(mask_annealing, 'print_log', lambda text, **_: said.append(text))
    MaskAnnealingHook(START, END).before_train(runner(length=16300))
    assert not said
    MaskAnnealingHook(START, END).before_train(runner(length=16299))
    assert 'last masks at iteration 16300, but training ends at 16299' in said[0]
