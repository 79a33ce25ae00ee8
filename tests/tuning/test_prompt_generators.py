"""Generators of prompts: what their losses reach, what a copy of the last task's holds."""

from __future__ import annotations

import copy
from typing import Any

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from torch import nn

from tests.tuning.toys import build, images
from vitadapter_dense.training.gradient_check import GradientCheck, randomise
from vitadapter_dense.tuning.prompt_autoencoders import VectorAutoencoder

VAE = dict(type='VAEPromptGenerator', length=3, width=4, latent=4)
CLS = dict(type='ClsPromptGenerator', length=2, query='mean', width=8, latent=4)
POOL = dict(size=3, length=1, top_k=1, query='mean')
POOLED = dict(type='PooledPromptGenerator', pool=POOL, generator=CLS)


@pytest.mark.parametrize('tuning', [VAE, dict(VAE, length=None, image_size=32), CLS])
def test_each_loss_reaches_the_parameters(tuning: dict[str, Any]) -> None:
    model = build('vit', tuning).train()
    generator = model.tuning.generator
    for name, untouched in (
        ('loss_prompt_reconstruction', ('to_prompts',)),
        ('loss_prompt_divergence', ('start', 'up', 'to_')),
    ):
        model.zero_grad()
        model(images())
        model.tuning.losses()[name].backward()
        for key, parameter in generator.named_parameters():
            reached = parameter.grad is not None and bool(parameter.grad.any())
            assert reached != key.startswith(untouched), (name, key)
    # against the closed form, for means and variances that are known
    with torch.no_grad():
        last = generator.down[-1]
        last.weight.zero_()
        last.bias.copy_(torch.cat([torch.full((4,), 2.0), torch.full((4,), 0.5)]))
    found = generator(torch.rand(5, 3, *generator.hw) if tuning is not CLS else torch.rand(5, 32))
    values = 3 * generator.hw[0] * generator.hw[1] if tuning is not CLS else 32
    normal = torch.distributions.Normal(0.0, 1.0)
    own = torch.distributions.Normal(2.0, torch.tensor(0.5).exp().sqrt())
    expected = 4 * torch.distributions.kl_divergence(own, normal) / values
    torch.testing.assert_close(found.divergence, expected)


@pytest.mark.slow
@pytest.mark.parametrize('tuning', [VAE, CLS, POOLED])
def test_gradients_of_an_evaluation_are_finite_differences(tuning: dict[str, Any]) -> None:
    drawn = torch.Generator().manual_seed(3)
    model = randomise(build('vit', tuning), drawn).eval()
    check = GradientCheck(model, images().double(), drawn)
    names = [name for name in check.tensors if 'tuning.' in name and name not in check.dead()]
    assert [str(fault) for fault in check.faults(names)] == []
    # the first two learn from losses alone; a token is a colour here, which a norm centres
    alone = ('choice.keys', 'to_vector', 'up.8.bias')
    assert all(any(part in name for part in alone) for name in check.dead())


def step(model: nn.Module, seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    optimizer.zero_grad()
    loss = model.train()(images())[-1].square().mean()
    losses = model.tuning.losses()
    sum(losses.values(), loss).backward()
    optimizer.step()
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize(
    'tuning',
    [
        pytest.param(VAE, marks=pytest.mark.slow),
        CLS,
        pytest.param(dict(POOLED, generator=dict(CLS, lwf_weight=10.0)), marks=pytest.mark.slow),
    ],
)
def test_the_last_tasks_generator_holds_this_tasks(tuning: dict[str, Any]) -> None:
    if 'pool' not in tuning:
        tuning = dict(tuning, lwf_weight=10.0)
    model = build('vit', tuning)
    part = model.tuning
    method = part.generator if 'pool' in tuning else part
    part.start_task(0)
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any('previous' in name for name in trains)
    for seed in range(2):
        assert 'loss_prompt_lwf' not in step(model, seed)  # nothing to be held by
    part.start_task(1)
    kept = {n: t.clone() for n, t in method.previous.named_buffers()}
    for name, parameter in method.generator.named_parameters():
        assert torch.equal(parameter, kept[name])
    assert step(model, 2)['loss_prompt_lwf'] == 0  # not yet apart
    drift = step(model, 3)['loss_prompt_lwf']
    assert drift > 0
    assert all(torch.equal(t, kept[n]) for n, t in method.previous.named_buffers())
    # a resume within the task: the copy comes out of the state dict, a second start changes nothing
    again = build('vit', tuning)
    again.tuning.start_task(1)
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    again.tuning.start_task(1)
    assert step(again, 4) == step(model, 4)
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))
    # held more tightly it drifts less
    loose = build('vit', tuning)
    loose.load_state_dict(model.state_dict())
    held = loose.tuning.generator if 'pool' in tuning else loose.tuning
    held.lwf_weight = 1e-3
    for seed in range(5, 15):
        tight, free = step(model, seed)['loss_prompt_lwf'], step(loose, seed)['loss_prompt_lwf']
    assert tight / 10 < free / 1e-3


BAD = {
    'no image': (dict(VAE, length=2), '2 tokens of 32 numbers make no image.*set length=3'),
    'half a patch': (dict(VAE, length=None, image_size=20), r'patches of 16 x 16.*image_size=16'),
    'weight': (dict(VAE, lwf_weight=-1.0), r'lwf_weight=-1.0\): give 0 or more'),
    'no CLS': (dict(CLS, query='cls'), "no CLS token; set query='mean'"),
    'another type': (dict(POOLED, generator=dict(type='LoRA')), 'VAEPromptGenerator or'),
    'a pool too small': (dict(POOLED, pool=dict(POOL, top_k=4)), 'size=3, top_k=4'),
    'no pool': (dict(POOLED, pool=dict(type='LoRA')), r'give options of PromptPool, dict\(size'),
    'no latent': (dict(VAE, latent=0), r'width=4, latent=0\): both are at least 1'),
    'no tokens': (dict(VAE, length=-3), r'length=-3\): give at least one'),
    'no such option': (dict(POOLED, pool=dict(POOL, sise=3)), "no option 'sise'"),
}


@pytest.mark.parametrize('case', BAD)
def test_what_does_not_fit_is_said_when_the_model_is_built(case: str) -> None:
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        build('vitadapter', options)


def test_divergence_is_not_rounded_to_16_bits() -> None:
    """``exp(v) - 1 - v`` of small v is nothing but rounding in bfloat16."""
    network, seen = VectorAutoencoder(8, (2, 8), 16, 64).eval(), torch.randn(16, 8)
    for parameter in network.down[-1].parameters():
        torch.nn.init.uniform_(parameter, -0.01, 0.01)
    with torch.autocast('cpu', torch.bfloat16):
        found = network(seen).divergence
    assert found.item() == pytest.approx(network(seen).divergence.item(), rel=0.1)
