"""The schedule by which masked attention goes away, and the hook that follows it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vitadapter_dense.heads.masked_attention import (
    MaskAnnealingHook,
    attention_mask,
    mask_probability,
)

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


def test_as_many_queries_are_masked_as_the_probability_says():
    torch.manual_seed(0)
    mask = attention_mask(torch.full((4, 5000, 2, 2), -1.0), (2, 2), others=1, probability=0.3)
    assert mask.shape == (4, 1, 5005, 5005)
    masked = ~mask[:, 0, :5000, 5001:].any(-1)
    assert masked.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert mask[:, 0, :, :5001].all()
    assert mask_probability(5, 5, 10, power=1.0) == 1.0


def test_schedule_that_cannot_be_followed_is_refused():
    with pytest.raises(ValueError, match=r'start=\[0\] and end=\[3000, 9780'):
        MaskAnnealingHook([0], END)
    with pytest.raises(ValueError, match='every start from 0 on and before its end'):
        MaskAnnealingHook([5], [5])
    with pytest.raises(ValueError, match='no decoder with masked attention'):
        MaskAnnealingHook(START, END).before_train(runner(model=nn.Linear(1, 1)))
    with pytest.raises(ValueError, match=r'2 blocks in start=\[0, 1\], but Decoder has 4'):
        MaskAnnealingHook([0, 1], [1, 2]).before_train(runner())
    with pytest.raises(ValueError, match='iteration 16300, but training ends at 16000'):
        MaskAnnealingHook(START, END).before_train(runner(length=16000))
