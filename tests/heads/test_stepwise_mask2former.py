"""Mask2Former that gets queries for later classes: nothing of the earlier ones changes."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmcv.ops', reason='needs mmcv')

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from vitadapter_dense.continual.start_task import set_groups, start_task
from vitadapter_dense.heads.query_step import weigh_no_object

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/continual'
GROUPS = dict(panoptic=[[0, 1, 2, 5], [3], [4]], semantic=[[0, 1, 2, 3], [4], [5]])
SIZE = (64, 64)


def head_of(kind: str, *, plain: bool = False) -> nn.Module:
    name = 'mask2former_vitadapter_xs_shapes_3_1' + ('_panoptic' if kind == 'panoptic' else '')
    cfg = Config.fromfile(str(CONFIGS / f'{name}.py'))
    init_default_scope(cfg.default_scope)
    head = cfg.model.get('panoptic_head') or cfg.model.decode_head
    if kind == 'panoptic':
        head.update(train_cfg=cfg.model.train_cfg)
    head.train_cfg.num_points = 64
    head.transformer_decoder.num_layers = 2
    if plain:
        head.type = 'Mask2FormerHead'
        for own in ('new_classes', 'step_queries', 'deltas'):
            head.pop(own)
    with MODELS.switch_scope_and_registry(cfg.default_scope) as registry:
        return registry.build(head)


def maps() -> list[torch.Tensor]:
    return [torch.randn(2, 96, SIZE[0] // stride, SIZE[1] // stride) for stride in (4, 8, 16, 32)]


def samples(kind: str, labels: list[int]) -> list:
    """An image with a mask of each label, and one with none of the last."""
    found = []
    for own in (labels, labels[:-1]):
        masks = torch.zeros(len(own), *SIZE, dtype=torch.long)
        for number in range(len(own)):
            masks[number, 8 * number : 8 * number + 16] = 1
        if kind == 'panoptic':
            from mmdet.structures import DetDataSample
            from mmdet.structures.mask import BitmapMasks

            sample = DetDataSample(metainfo=dict(img_shape=SIZE, batch_input_shape=SIZE))
            sample.gt_instances = InstanceData(
                labels=torch.tensor(own, dtype=torch.long),
                masks=BitmapMasks(masks.numpy().astype('uint8'), *SIZE),
            )
            sample.gt_sem_seg = PixelData(sem_seg=torch.full((1, *SIZE), 255))
        else:
            from mmseg.structures import SegDataSample

            pixels = torch.full((1, *SIZE), 255)
            for label, mask in zip(own, masks, strict=True):
                pixels[0, mask > 0] = label
            sample = SegDataSample(metainfo=dict(img_shape=SIZE))
            sample.gt_sem_seg = PixelData(data=pixels)
        found.append(sample)
    return found


def losses(head: nn.Module, kind: str, features: list, labels: list[int]) -> dict:
    torch.manual_seed(7)
    more = [None] if kind == 'semantic' else []
    return head.loss(features, samples(kind, labels), *more)


@pytest.mark.parametrize('kind', ['panoptic', 'semantic'])
def test_later_steps_leave_the_first_queries_as_they_are(kind: str) -> None:
    torch.manual_seed(0)
    plain, head, features = head_of(kind, plain=True), head_of(kind), maps()
    head.load_state_dict(plain.state_dict(), strict=False)
    set_groups(head, GROUPS[kind])
    # of one step it is the toolbox's head, in losses, gradients and predictions
    start_task(head, 0)
    first = GROUPS[kind][0]
    own, other = (losses(each, kind, features, first[:3]) for each in (head, plain))
    assert own.keys() == other.keys()
    assert all(own[name].equal(other[name]) for name in own)
    sum(own.values()).backward()
    assert all(p.grad is None for p in head.steps.parameters())
    head.eval()
    plain.eval()
    with torch.no_grad():
        before, of_plain = head(features, None), plain(features, None)
    for one, two in zip(before, of_plain, strict=True):
        assert all(a.equal(b) for a, b in zip(one, two, strict=True))

    kept = copy.deepcopy(head.state_dict())
    for task, labels in enumerate(GROUPS[kind][1:], start=1):
        start_task(head.train(), task)
        for parameter in head.parameters():
            parameter.grad = None
        trained = {id(p) for p in head.task_modules(task)[0].parameters()}
        # earlier classes in the labels have queries already
        sum(losses(head, kind, features, [first[0], labels[0]]).values()).backward()
        with torch.no_grad():
            for name, parameter in head.named_parameters():
                own_step = id(parameter) in trained
                assert own_step or not name.startswith('steps') or not parameter.requires_grad
                if own_step:
                    assert parameter.grad is not None, name
                    parameter -= 0.1 * parameter.grad
    now = head.state_dict()
    mine = [name for name in kept if not name.startswith(('steps', 'task'))]
    assert all(now[name].equal(kept[name]) for name in mine)

    head.eval()
    with torch.no_grad():
        again = head._decode(head._maps(features), 0)[-1]
        (classes,), (masks,) = head(features, None)
    assert head.cls_embed(again[0]).equal(before[0][-1])
    assert masks[:, :20].equal(before[1][-1])
    assert classes.shape == (2, 20 + 5 + 5, 7)
    shares = classes.softmax(-1)
    torch.testing.assert_close(classes.exp().sum(-1), torch.ones(2, 30))
    parts = (slice(20), slice(20, 25), slice(25, 30))
    for queries, labels in zip(parts, GROUPS[kind], strict=True):
        others = [label for label in range(6) if label not in labels]
        assert not shares[:, queries, others].any()
    # of the first queries those stay whose class is likelier than 0.4 of what both others say
    said = [head._logits(again[0], task).softmax(-1) for task in range(3)]
    claimed = (2 - said[1][..., -1] - said[2][..., -1]).clamp(max=1)
    stays = said[0][..., :-1].max(-1).values >= 0.4 * claimed
    expected = said[0][..., :-1] * stays[..., None]
    torch.testing.assert_close(shares[:, :20, first], expected)


def test_weighing_no_object() -> None:
    own, others = torch.tensor([[0.5, 0.2, 0.3]]), torch.tensor([0.6])
    torch.testing.assert_close(weigh_no_object(own, others, 0.0), own)
    torch.testing.assert_close(weigh_no_object(own, others, 0.8), own)  # 0.48 is below 0.5
    torch.testing.assert_close(weigh_no_object(own, 3 * others, 0.5), own)  # as if by 1
    found = weigh_no_object(own, others, 0.9)  # 0.54 is above
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, 1.0]]))
    # half of 0.3 beside 0.5 and 0.2, whatever the others say
    found = weigh_no_object(own, others, -0.5)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.2, 0.15]]) / 0.85)
    # a query that is surely of no object stays so, however little that counts
    found = weigh_no_object(torch.tensor([[1e-3, 1e-12, 1.0 - 1e-3]]), others, -0.1)
    assert found[0, 2] > 0.98


def test_numbers_that_do_not_fit() -> None:
    head = head_of('semantic')
    with pytest.raises(ValueError, match=r'Mend: new_classes=\[2\]'):
        head.set_groups([[0, 1, 2, 3], [4, 5]])
    options = {name: [1, 1] for name in ('new_classes', 'deltas')}
    for wrong, message in (
        (dict(new_classes=[3, 3]), 'none is left for the first task'),
        (dict(new_classes=[3], step_queries=2), 'Set step_queries=3 or more'),
        (dict(new_classes=2), r'new_classes=2: it is a list, as \[10, 10\]'),
        (dict(deltas=0.5), r'deltas=0\.5: it is a list'),
        (dict(deltas=[1.5]), r'deltas=\[1.5\]: numbers from -1 to 1'),
        (dict(deltas=['0.5']), 'numbers from -1 to 1'),
        (dict(deltas=[math.nan]), 'numbers from -1 to 1'),
        (dict(new_classes=['1']), 'whole numbers; a step brings'),
        (dict(step_queries='5'), "step_queries='5': a step brings"),
    ):
        for name, value in {**options, 'step_queries': 5, **wrong}.items():
            setattr(head, name, value)
        with pytest.raises(ValueError, match=message):
            head._check()
