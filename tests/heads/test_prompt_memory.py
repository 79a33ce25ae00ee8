"""A memory of prompts in a DETR's decoder: what it reads, what changes, what it refuses."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F

pytest.importorskip('mmdet')

from mmdet.structures import DetDataSample
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from vitadapter_cli import config_path
from vitadapter_dense.continual.class_rows import find_classifiers
from vitadapter_dense.continual.task_hook import freeze_all_but
from vitadapter_dense.heads.prompt_memory import PromptMemory

MEMORY = dict(size=6, length=2, top_k=2, slots_per_task=3)


def detector(kind: str, **changes: Any) -> nn.Module:
    """A shallow DINO of the shapes, or a Deformable DETR of COCO on its backbone."""
    cfg = Config.fromfile(config_path('shapes/dino_vitadapter_xs')).model
    if kind == 'DeformableDETR':
        backbone = cfg.backbone
        cfg = Config.fromfile(config_path('coco/deformable_detr_vitadapter_s')).model
        cfg.backbone, cfg.neck.in_channels, cfg.bbox_head.num_classes = backbone, [96] * 4, 5
    for name in ('encoder', 'decoder'):
        cfg[name].num_layers = 2
        cfg[name].layer_cfg.ffn_cfg.feedforward_channels = 32
    cfg.num_queries, cfg.test_cfg.max_per_img = 8, 40
    cfg.update(dict(type=kind) | changes)
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(cfg)
    model.init_weights()
    # what the heads begin with says nothing of the queries
    for branch in [*model.bbox_head.reg_branches, *model.bbox_head.cls_branches]:
        for parameter in branch.parameters():
            nn.init.normal_(parameter, std=0.1)
    return model


def batch() -> tuple[Tensor, list[DetDataSample]]:
    """Two images, one of which is padded, with an object each."""
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    samples = []
    for size, label in (((64, 64), 4), ((48, 64), 0)):
        objects = InstanceData(
            bboxes=torch.tensor([[4.0, 8.0, 30.0, 40.0]]), labels=torch.tensor([label])
        )
        meta = dict(img_shape=size, ori_shape=size, batch_input_shape=(64, 64), scale_factor=(1, 1))
        samples.append(DetDataSample(metainfo=meta, gt_instances=objects))
    return images, samples


def found(model: nn.Module) -> tuple[Tensor, ...]:
    with torch.no_grad():
        outputs = [one.pred_instances for one in model.eval().predict(*batch())]
    return tuple(torch.cat([one[name] for one in outputs]) for name in ('bboxes', 'scores'))


def test_the_memory_reads_its_units_by_their_cosines() -> None:
    """Against loops: in training units of the task, in an evaluation those of all so far."""
    memory = PromptMemory(3, 4, **MEMORY)
    with torch.no_grad():
        for slots in (memory.prompts, memory.choice.keys):
            slots.put(torch.randn_like(slots.resting), torch.tensor(-1))
    for task, training in ((1, True), (1, False), (2, True), (2, False)):
        memory.start_task(task)
        memory.train(training)
        keys, prompts = memory.choice.keys.resting, memory.prompts.resting
        query = torch.randn(5, 4)
        open_to = range(3 * (task - 1) if training else 0, 3 * task)
        read = memory(query)
        loss = 0.0
        for image in range(5):
            cosines = {
                slot: float(keys[slot] @ query[image] / keys[slot].norm() / query[image].norm())
                for slot in open_to
            }
            nearest = sorted(cosines, key=cosines.get)[-2:]
            expected = sum(cosines[slot] * prompts[slot] for slot in nearest)
            torch.testing.assert_close(read[image], expected, rtol=1e-4, atol=1e-5)
            loss -= 0.1 * sum(cosines[slot] for slot in nearest) / 5
        kept = memory.losses()
        assert (kept != {}) == training
        if training:
            assert float(kept['loss_prompt_keys'].detach()) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize('kind', ['DINO', 'DeformableDETR'])
def test_a_detector_with_a_memory_begins_as_it_was_and_changes_no_more_than_it(kind: str) -> None:
    plain = detector(kind)
    model = detector(kind, type='PromptMemoryDETR', prompt_memory=MEMORY)
    missing = model.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith('prompt_memory.') for name in missing.missing_keys)
    first = found(plain)
    for task in (None, 0):
        if task is not None:
            model.prompt_memory.start_task(task)
        assert all(one.equal(other) for one, other in zip(found(model), first, strict=True))
    model.prompt_memory.start_task(1)
    with_memory = found(model)
    assert not with_memory[1].equal(first[1])
    copied = copy.deepcopy(model)  # as the old model that labels is
    with torch.no_grad():
        model.prompt_memory.prompts.own.add_(1)
    assert all(one.equal(other) for one, other in zip(found(copied), with_memory, strict=True))
    assert not found(model)[1].equal(with_memory[1])

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    frozen = freeze_all_but(model.task_modules(1), model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for module in frozen:
        module.training = False
    losses = model.loss(*batch())
    assert 'loss_prompt_keys' in losses
    sum(sum(v) if isinstance(v, list) else v for n, v in losses.items() if 'loss' in n).backward()
    optimizer.step()
    changed = {name for name, one in model.state_dict().items() if not one.equal(before[name])}
    number = 2 if kind == 'DeformableDETR' else 3  # DINO's proposals are of classes, too
    rows = {f'bbox_head.cls_branches.{n}.{p}' for n in range(number) for p in ('weight', 'bias')}
    assert changed == rows | {'prompt_memory.prompts.own', 'prompt_memory.choice.keys.own'}
    assert {name.rpartition('.')[0] for name in rows} == set(find_classifiers(model, 5))

    one = dict(model.named_parameters())
    own = [one[f'prompt_memory.{part}.own'].detach().clone() for part in ('prompts', 'choice.keys')]
    model.prompt_memory.start_task(2)
    for part, learned in zip((model.prompt_memory.prompts, model.prompt_memory.choice.keys), own):
        assert part.resting[:3].equal(learned)  # they rest as they were
        assert part.own.equal(part.resting[3:])


def test_prompts_are_keys_and_values_beside_the_queries() -> None:
    """Against attention that is written out; the first query is hidden, as DINO's noisy ones."""
    model = detector('DINO', type='PromptMemoryDETR', prompt_memory=MEMORY).eval()
    layer = model.decoder.layers[1].self_attn
    x, place, prompts = torch.randn(2, 5, 64), torch.randn(2, 5, 64), torch.randn(2, 2, 3, 64)
    hidden = torch.zeros(5, 5, dtype=torch.bool)
    hidden[:, 0] = True
    model._prompts = prompts
    put = dict(query_pos=place, key_pos=place, attn_mask=hidden)
    with torch.no_grad():
        nn.init.normal_(layer.attn.in_proj_bias)
        seen = layer(query=x, key=x, value=x, **put)
        own = prompts[:, 1]
        given = (x + place, torch.cat([x + place, own], 1), torch.cat([x, own], 1))
        parts = zip(
            given,
            layer.attn.in_proj_weight.chunk(3),
            layer.attn.in_proj_bias.chunk(3),
            strict=True,
        )
        heads = [F.linear(*part).unflatten(-1, (4, 16)).transpose(1, 2) for part in parts]
        logits = heads[0] @ heads[1].mT / 16**0.5
        logits[..., 0] = -torch.inf
        mixed = (logits.softmax(-1) @ heads[2]).transpose(1, 2).flatten(2)
        expected = x + layer.attn.out_proj(mixed)
    torch.testing.assert_close(seen, expected)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r'for 2 tasks after the first, and there are 3: set size=9'
    ):
        PromptMemory(2, 4, **MEMORY).check_tasks(4)
    for wrong in (
        dict(top_k=4),
        dict(top_k='2'),
        dict(top_k=True),
        dict(length=0),
        dict(size=6.0),
        dict(key_weight=-1),
        dict(key_weight=math.nan),
    ):
        ((name, value),) = wrong.items()
        with pytest.raises(
            ValueError, match=f'{name}={value!r}.*an image reads top_k of the slots'
        ):
            PromptMemory(2, 4, **MEMORY | wrong)
    for wrong in ({'keys': 3}, 5):
        with pytest.raises(ValueError, match=r'prompt_memory=.*: it is dict\(key_weight=, length='):
            detector('DINO', type='PromptMemoryDETR', prompt_memory=wrong)
    with pytest.raises(ValueError, match=r'this model has backbone, roi_head\. Mend: the model of'):
        MODELS.build(dict(type='PromptMemoryDETR', prompt_memory={}, backbone={}, roi_head={}))
