"""Planned memory beside what the allocator hands out."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from vitadapter_dense.backbones import OpenViT, PlainViT, ViTAdapter
from vitadapter_dense.reports.memory import training_step
from vitadapter_dense.reports.memory_plan import Step, parts_of, planned_step, run_passes


def allocated(call) -> int:
    """The most bytes that the CPU's allocator has given out while something runs."""
    gc.collect()  # what earlier tests have left is not to be freed meanwhile
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    now = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == '[memory]':
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def small(*, frozen: bool, with_cp: bool) -> ViTAdapter:
    encoder = dict(type='TimmViT', model_name='vit_tiny_patch16_224', img_size=64, embed_dim=48)
    encoder.update(depth=4, num_heads=2, frozen=frozen, with_cp=with_cp)
    return ViTAdapter(encoder, conv_inplane=8, deform_num_heads=2, with_cp=with_cp).train()


@pytest.mark.parametrize(('frozen', 'with_cp'), [(False, True), (True, False)])
def test_a_step_without_memory_takes_as_much_as_one_with(frozen, with_cp):
    backbone = small(frozen=frozen, with_cp=with_cp)
    images = torch.rand(2, 3, 96, 96)
    real = allocated(lambda: run_passes(backbone, images))
    with torch.device('meta'):
        backbone = small(frozen=frozen, with_cp=with_cp)
    planned = planned_step(backbone, images.shape)
    assert planned.passes[0] == pytest.approx(real, rel=0.1)
    trained = sum(p.nbytes for p in backbone.parameters() if p.requires_grad)
    assert planned.update[1] == trained
    assert planned.update[0] > 1.5 * trained  # gradients, and what AdamW holds beside them


def test_a_step_of_backbones_of_mask_heads():
    """EoMT's leaves its last blocks to the head, and nothing of PMT's trains."""
    encoder = dict(type='TimmViT', model_name='vit_tiny_patch16_224', embed_dim=24, depth=2)
    encoder.update(num_heads=3)
    images = torch.rand(1, 3, 32, 32)
    backbone = OpenViT(encoder, open_blocks=1).train()
    before = [parameter.clone() for parameter in backbone.parameters()]
    training_step(backbone, images)()
    assert not any(map(torch.equal, before, backbone.parameters()))
    frozen = PlainViT(encoder | dict(frozen=True)).train()
    before = [parameter.clone() for parameter in frozen.parameters()]
    training_step(frozen, images)()
    assert all(map(torch.equal, before, frozen.parameters()))


def test_parts_of_many_processes():
    model = nn.Module()
    model.backbone, model.head = nn.ModuleList(nn.Linear(10, 10) for _ in range(4)), nn.Linear(9, 1)
    unit = 440  # bytes of a layer of the backbone; the head's are 40
    step = Step((5000, 1000), (3 * 4 * unit, 4 * unit))
    plain, ddp, sharded = (
        parts_of(model, model.backbone, step, kind=kind, processes=4)
        for kind in ('plain', 'DDP', 'sharded')
    )
    whole = 4 * unit + 40
    assert plain[0] == (whole, 1040, 2 * whole, 4000)
    assert plain[1] == (whole, whole, 2 * whole, 2 * whole)
    assert ddp[0].gradients - plain[0].gradients == whole
    # a part of all, two units, and the head that is none
    assert sharded[0].weights == whole // 4 + 2 * unit + 40
    assert sharded[0].gradients == whole // 4 + 2 * unit + 40
    assert sharded[1].total == (4 * whole + 2 * whole) // 4
