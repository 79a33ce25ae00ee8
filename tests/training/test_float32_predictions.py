"""Under mixed precision objects are assigned as in float32, by every matching cost."""

from __future__ import annotations

import copy
import pickle

import pytest

pytest.importorskip('mmcv.ops', reason='needs mmcv')

import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from vitadapter_dense.training.float32_predictions import keep_predictions_float32

COSTS = [
    dict(type='ClassificationCost', weight=2.0),
    dict(type='CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
    dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
    dict(type='FocalLossCost', binary_input=True),
    dict(type='FocalLossCost'),
    dict(type='BBoxL1Cost', box_format='xywh'),
    dict(type='IoUCost'),
]
POINTS = 12544


def assigned(assigner: object, monkeypatch, *, dtype: torch.dtype | None) -> torch.Tensor:
    """The costs that predictions of the given type are assigned by."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(6, POINTS, generator=generator) * 2 - 13  # sure of 'nothing here'
    # logits of a trained detector: sure of some classes, and surer that most are not there
    scores = torch.tensor([-18.0, -9.0, 0.0, 9.0]).expand(6, 4) + torch.rand(
        6, 4, generator=generator
    )
    corners = torch.rand(6, 2, generator=generator) * 300
    truth = InstanceData(
        labels=torch.tensor([0, 2]),
        masks=torch.rand(2, POINTS, generator=generator) < 0.8,  # large objects
        bboxes=torch.tensor([[10.0, 20.0, 200.0, 300.0], [30.0, 5.0, 400.0, 260.0]]),
    )
    half = dtype or torch.float32
    boxes = torch.cat([corners, corners + 100], dim=1)
    predicted = InstanceData(
        masks=masks.to(half).to(half), scores=scores.to(half), bboxes=boxes.to(half).to(half)
    )
    seen: list[torch.Tensor] = []
    module = 'mmdet.models.task_modules.assigners.hungarian_assigner'
    solve = __import__(module, fromlist=['x']).linear_sum_assignment

    def record(cost):
        seen.append(cost)
        return solve(cost)

    monkeypatch.setattr(f'{module}.linear_sum_assignment', record)
    with torch.autocast('cpu', dtype=half, enabled=dtype is not None):
        assigner.assign(predicted, truth, dict(img_shape=(512, 512)))
    return seen[0]


@pytest.mark.parametrize('cost', COSTS, ids=lambda cost: cost['type'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_assigners_cost_in_float32(cost, dtype, monkeypatch):
    from mmdet.registry import TASK_UTILS

    init_default_scope('mmdet')
    head = nn.Module()
    head.assigner = TASK_UTILS.build(dict(type='HungarianAssigner', match_costs=[cost]))
    head.stages = [TASK_UTILS.build(dict(type='HungarianAssigner', match_costs=[cost]))]
    expected = assigned(head.assigner, monkeypatch, dtype=None)
    for _ in range(2):  # once more changes nothing
        keep_predictions_float32(nn.ModuleList([head]))
    twin = pickle.loads(pickle.dumps(copy.deepcopy(head)))
    for assigner in (head.assigner, *head.stages, twin.assigner):
        found = assigned(assigner, monkeypatch, dtype=dtype)
        assert found.dtype == torch.float32
        # the predictions themselves are rounded, their sums over points are not
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_predictions_that_are_not_finite_are_assigned():
    """The loss is not finite either, which `FiniteLossHook` deals with; SciPy would end the run."""
    from mmdet.registry import TASK_UTILS

    init_default_scope('mmdet')
    head = nn.Module()
    costs = [cost for cost in COSTS if not cost.get('binary_input')]
    head.assigner = TASK_UTILS.build(dict(type='HungarianAssigner', match_costs=costs))
    keep_predictions_float32(nn.ModuleList([head]))
    corners = torch.rand(6, 2)
    predicted = InstanceData(
        scores=torch.randn(6, 4),
        bboxes=torch.cat([corners, corners + 1], dim=1),
        masks=torch.randn(6, 8),
    )
    for key, value in zip(predicted.keys(), (torch.inf, torch.nan, -torch.inf), strict=True):
        predicted[key][1:3] = value
    truth = InstanceData(
        labels=torch.tensor([0, 2]), masks=torch.ones(2, 8), bboxes=predicted.bboxes[3:5]
    )
    found = head.assigner.assign(predicted, truth, dict(img_shape=(512, 512)))
    assert sorted(found.gt_inds.tolist()) == [0, 0, 0, 0, 1, 2]
