"""What small comparisons of tuning methods train with: a start and a schedule for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


def tuned_backbone(
    backbone_cfg: Mapping[str, Any], tuning: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> nn.Module:
    """A backbone with a tuning method, on pre-trained weights.

    Args:
        backbone_cfg: config of the backbone.
        tuning: config of the method.
        weights: the backbone's, all of them.

    Raises:
        ValueError: the weights are of another backbone.
    """
    cfg = dict(type='TunedBackbone', backbone=dict(backbone_cfg), tuning=dict(tuning))
    backbone = MODELS.build(cfg)
    missing, foreign = backbone.load_state_dict(weights, strict=False)
    lost = [name for name in missing if 'tuning' not in name.split('.')]
    if lost or foreign:
        raise ValueError(f'weights of another backbone: {[*lost, *foreign][:3]} do not fit')
    return backbone


def fit(
    parameters: Sequence[nn.Parameter],
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    *,
    steps: int,
    rate: float,
    batch: int = 16,
) -> None:
    """AdamW with a cosine schedule over random batches.

    Args:
        parameters: to train.
        loss_of: is given the numbers of a batch's pictures ``(batch,)``.
        count: how many pictures there are.
        steps: of training.
        rate: the highest learning rate.
        batch: pictures a step.
    """
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=steps, pct_start=0.1
    )
    for _ in range(steps):
        loss = loss_of(torch.randint(count, (batch,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
