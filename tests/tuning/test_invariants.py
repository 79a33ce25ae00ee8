"""The five invariants of tuning, for every method on every backbone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.model import revert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.tuning.toys import (
    INPUT_PROMPTS,
    METHODS,
    build,
    images,
    layer_calls,
    loss_of,
    pairs,
    train_steps,
)
from vitadapter_dense.checkpoints.checked_loading import hash_of, load_checked, read_checkpoint
from vitadapter_dense.tuning import Tuning
from vitadapter_dense.tuning.delta import complete_state_dict, frozen_names, make_delta, notes

FAST = {'resnet', 'swin', 'convnext', 'vit', 'vitadapter'}
IN_EVERY_BLOCK = {'full', 'bias', 'norm', 'lora', 'ssf', 'adapter'}
CASES = [
    pytest.param(
        method,
        backbone,
        marks=[] if backbone in FAST and method not in INPUT_PROMPTS else [pytest.mark.slow],
    )
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
        return list(model(images().to(next(model.parameters()).dtype)))


def assert_same(one, other, **tolerance) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other):
        torch.testing.assert_close(a, b, **(tolerance or dict(rtol=0, atol=0)))


def modes(part: nn.Module) -> Iterator[tuple[str, bool, bool]]:
    """Name and mode of all that behaves otherwise in training, and whether it should train."""
    for parent_name, parent in part.named_modules():
        if isinstance(parent, Tuning) or 'tuning.' in f'{parent_name}.':
            continue
        own = [p for n, p in parent.named_parameters() if not n.startswith('tuning.')]
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                trains = any(p.requires_grad for p in child.parameters())
            elif own and type(child).__name__ in ('Dropout', 'DropPath'):
                trains = any(p.requires_grad for p in own)
            else:
                continue
            yield f'{parent_name}.{name}', child.training, trains


def scrambled(model: nn.Module) -> nn.Module:
    """The same model with other weights and buffers."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    return model


def with_head(backbone: nn.Module) -> nn.Module:
    return nn.ModuleDict(dict(backbone=backbone, head=nn.Linear(1, 1)))


def round_trip(tuned: nn.Module, base: dict[str, torch.Tensor], fresh, folder: Path) -> Iterator:
    """Models from ``fresh()`` after a delta of the tuned one, loaded in both ways."""
    file, source = folder / 'delta.pth', folder / 'base.pth'
    torch.save({f'backbone.{name}': tensor for name, tensor in base.items()}, source)
    model, origin = with_head(tuned), dict(checkpoint=str(source))
    whole, frozen = dict(state_dict=model.state_dict()), frozen_names(model)
    kept = hash_of(whole['state_dict'], frozen)
    told = notes(model, origin)
    delta = make_delta(whole, frozen, base=origin, base_hash=kept, backbones=told)
    torch.save(delta, file)
    frozen_parameters = {
        f'backbone.{n}' for n, p in tuned.named_parameters() if not p.requires_grad
    }
    assert not frozen_parameters & delta['state_dict'].keys()

    by_tools = with_head(fresh())
    state = complete_state_dict(by_tools, read_checkpoint(file), file)
    load_checked(by_tools, state, min_share=1.0)
    yield by_tools.backbone
    by_itself = with_head(fresh())
    by_itself.load_state_dict(torch.load(file, weights_only=True)['state_dict'])
    yield by_itself.backbone


@pytest.mark.parametrize(('method', 'backbone'), CASES)
def test_invariants(method, backbone, tmp_path):
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
    assert all(module.training for module in tuned.tuning.modules())
    for name, training, trains in modes(part_of(tuned)):
        assert training == trains, name
    backward(tuned)
    for name, parameter in tuned.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    tuned.zero_grad()
    # weights alone: what a batch norm takes out again, as a bias before it, never moves
    own = {n: p.clone() for n, p in tuned.tuning.named_parameters() if p.dim() > 1}
    train_steps(tuned)
    now = dict(tuned.tuning.named_parameters())
    still = [name for name, weight in own.items() if torch.equal(weight, now[name])]
    # two layers in a row that start at zero would stay there; a toy's narrow gate may be dead
    assert len(still) <= len(own) / 4, still
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
        merged = copy.deepcopy(tuned).double()  # in float64 rounding cannot hide an error
        exact = outputs(merged)
        merged.tuning.merge()
        merged.tuning.merge()  # once more changes nothing
        assert_same(outputs(merged), exact, rtol=1e-7, atol=1e-9)
        rest = {k: v for k, v in merged.state_dict().items() if not k.startswith('tuning.')}
        other = copy.deepcopy(plain).double()
        other.load_state_dict(rest)
        assert_same(outputs(other), exact, rtol=1e-7, atol=1e-9)
    else:
        with pytest.raises(TypeError, match='cannot be merged'):
            tuned.tuning.merge()
    # 5: the state dict is complete
    again = scrambled(build(backbone, METHODS[method]))
    again.load_state_dict(tuned.state_dict())
    assert_same(outputs(again), unmerged)
    # and so is a delta with its base
    base = plain.state_dict()
    for back in round_trip(
        tuned, base, lambda: scrambled(build(backbone, METHODS[method])), tmp_path
    ):
        assert_same(outputs(back), unmerged)


@pytest.mark.parametrize(('method', 'backbone'), CASES)
def test_checkpointing_copies_precision_and_batch_norms(method, backbone):
    model = build(backbone, METHODS[method])
    recomputing = build(backbone, METHODS[method], with_cp=True)
    train_steps(model.train(), steps=1)
    recomputing.load_state_dict(model.state_dict())
    # batch norms that train count a recomputed batch twice; that is no matter of tuning
    calls = []
    for each in (model, recomputing):
        each.train()
        each.zero_grad()
        with layer_calls() as counted:
            backward(each)
        calls.append(len(counted))
    if method in IN_EVERY_BLOCK:
        assert calls[1] > 1.2 * calls[0]
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
