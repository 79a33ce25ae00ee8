"""The five invariants of tuning, for every method on every backbone."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip('mmcv.ops', reason='needs the compiled ops of mmcv')

import torch
from mmengine.model import revert_sync_batchnorm
from torch import nn
from tuning_toys import METHODS, build, images, loss_of, pairs, train_steps

FAST = {'resnet', 'swin', 'convnext', 'vit', 'vitadapter'}
CASES = [
    pytest.param(method, backbone, marks=[] if backbone in FAST else [pytest.mark.slow])
    for method, backbone in pairs()
]


def part_of(model: nn.Module) -> nn.Module:
    """What the method concerns."""
    return getattr(model, 'encoder', model)


def pretrained(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers of the tuned part, without the method's own; copies."""
    return {
        name: tensor.clone()
        for name, tensor in part_of(model).state_dict().items()
        if not name.startswith('tuning.')
    }


def backward(model: nn.Module) -> None:
    """One backward pass, if anything trains."""
    loss = loss_of(model)
    if loss.requires_grad:
        loss.backward()


def outputs(model: nn.Module) -> list[torch.Tensor]:
    model.eval()  # MMDetection's Swin returns nothing here
    with torch.no_grad():
        return list(model(images()))


def assert_same(one, other, **tolerance) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other):
        torch.testing.assert_close(a, b, **(tolerance or dict(rtol=0, atol=0)))


@pytest.mark.parametrize(('method', 'backbone'), CASES)
def test_invariants(method, backbone):
    plain, tuned = build(backbone), build(backbone, METHODS[method])
    # 1: no pre-trained parameter is renamed
    keys = tuned.load_state_dict(plain.state_dict(), strict=False)
    assert not keys.unexpected_keys
    assert all(name.startswith('tuning.') for name in keys.missing_keys)
    # 2: the start
    same = all(torch.equal(a, b) for a, b in zip(outputs(plain), outputs(tuned)))
    if tuned.tuning.identity_at_start:
        assert_same(outputs(plain), outputs(tuned))
    else:
        assert not same
    # 3: what a step changes
    before = pretrained(tuned)
    tuned.train()
    backward(tuned)
    for name, parameter in tuned.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    tuned.zero_grad()
    train_steps(tuned)
    declared = {
        name for name, p in part_of(tuned).named_parameters() if tuned.tuning.trainable(name, p)
    }
    trains = {name.rpartition('.')[0] for name in declared}
    after = pretrained(tuned)
    for name, tensor in after.items():
        if name not in declared and name.rpartition('.')[0] not in trains:
            assert torch.equal(tensor, before[name]), name
    unmoved = {name for name in declared if torch.equal(after[name], before[name])}
    assert len(unmoved) <= 0.2 * len(declared)
    assert all(p.requires_grad for p in tuned.tuning.parameters())
    # 4: merging
    unmerged = outputs(tuned)
    if tuned.tuning.mergeable:
        merged = copy.deepcopy(tuned)
        merged.tuning.merge()
        merged.tuning.merge()  # once more changes nothing
        assert_same(outputs(merged), unmerged, rtol=1e-3, atol=1e-4)
        rest = {k: v for k, v in merged.state_dict().items() if not k.startswith('tuning.')}
        plain.load_state_dict(rest)
        assert_same(outputs(plain), unmerged, rtol=1e-3, atol=1e-4)
    else:
        with pytest.raises(TypeError, match='cannot be merged'):
            tuned.tuning.merge()
    # 5: the state dict is complete
    again = build(backbone, METHODS[method])
    again.load_state_dict(tuned.state_dict())
    assert_same(outputs(again), unmerged)


@pytest.mark.parametrize(('method', 'backbone'), CASES)
def test_checkpointing_copies_precision_and_batch_norms(method, backbone):
    model = build(backbone, METHODS[method])
    recomputing = build(backbone, METHODS[method], with_cp=True)
    train_steps(model.train(), steps=1)
    recomputing.load_state_dict(model.state_dict())
    # batch norms that train count a recomputed batch twice; that is no matter of tuning
    for each in (model, recomputing):
        each.train()
        each.zero_grad()
        backward(each)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    for name, parameter in recomputing.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6)

    expected = outputs(model)
    twin = copy.deepcopy(model)
    assert_same(outputs(twin), expected)
    with torch.no_grad():
        for parameter in twin.tuning.parameters():
            parameter.add_(0.3)
    changed = not all(torch.equal(a, b) for a, b in zip(outputs(twin), expected))
    assert changed == any(True for _ in twin.tuning.parameters())
    assert_same(outputs(model), expected)

    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        for low, full in zip(model(images()), expected):
            assert low.isfinite().all()
            assert (low.float() - full).abs().mean() < 0.1 * full.abs().mean() + 0.02

    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(model).train()
    assert {name for name, p in synchronised.named_parameters() if p.requires_grad} == trains
    frozen = [m for m in part_of(synchronised).modules() if isinstance(m, nn.SyncBatchNorm)]
    assert all(m.training == m.weight.requires_grad for m in frozen if not m.bias.requires_grad)
    assert_same(outputs(revert_sync_batchnorm(synchronised)), expected)
