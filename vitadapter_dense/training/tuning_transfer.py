"""A transfer that is small enough to compare tuning methods on two CPU cores.

A backbone is pre-trained to classify single generated shapes. Then a segmentor with it is tuned on
scenes of the same shapes whose colours are shifted and noisy: for every method the same head, steps
and data (:mod:`vitadapter_dense.datasets.shapes_transfer`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.datasets.shapes import SHAPES_CLASSES
from vitadapter_dense.datasets.shapes_transfer import shape_crops
from vitadapter_dense.training.short_training import fit, tuned_backbone

Images = tuple[Tensor, Tensor]
"""Pictures and what they show, as :mod:`vitadapter_dense.datasets.shapes_transfer` gives both."""


def pretrain(
    backbone_cfg: Mapping[str, Any], *, steps: int, size: int, count: int = 3000, unseen: int = 500
) -> tuple[dict[str, Tensor], float]:
    """Trains a backbone to classify single shapes.

    Args:
        backbone_cfg: its config.
        steps: of training.
        size: side of the pictures.
        count: how many there are.
        unseen: how many others there are to measure it.

    Returns:
        Its weights, and the share of the unseen pictures that it tells right.
    """
    torch.manual_seed(0)
    pictures, labels = shape_crops(count, seed=1, size=size)
    backbone = MODELS.build(dict(backbone_cfg))
    width = backbone(torch.zeros(1, 3, size, size))[-1].shape[1]
    head = nn.Linear(width, len(SHAPES_CLASSES))

    def features(batch: Tensor) -> Tensor:
        return backbone(_prepared(batch))[-1].mean((2, 3))

    def loss(batch: Tensor) -> Tensor:
        return F.cross_entropy(head(features(pictures[batch])), labels[batch])

    fit([*backbone.parameters(), *head.parameters()], loss, count, steps=steps, rate=2e-3)
    backbone.eval()
    with torch.no_grad():
        others, answers = shape_crops(unseen, seed=2, size=size)
        found = head(torch.cat([features(part) for part in others.split(50)])).argmax(1)
    return backbone.state_dict(), (found == answers).float().mean().item()


def tune(
    backbone_cfg: Mapping[str, Any],
    tuning: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    data: Mapping[str, Images],
    *,
    rate: float,
    seed: int,
    steps: int,
) -> dict[str, float]:
    """Tunes one segmentor and measures it.

    Args:
        backbone_cfg: config of the backbone.
        tuning: config of the method.
        weights: the backbone's, pre-trained.
        data: scenes by split: ``train``, ``select`` and ``test``.
        rate: the highest learning rate.
        seed: of the head and of the batches.
        steps: of training.

    Returns:
        Mean IoU on ``select`` and ``test``, how many parameters were trained in the
        backbone and in the head, and the seconds of training.
    """
    torch.manual_seed(seed)
    backbone = tuned_backbone(backbone_cfg, tuning, weights).eval()
    pictures, maps = data['train']
    head = _Head([m.shape[1] for m in backbone(torch.zeros(1, *pictures.shape[1:]))], len(maps[0]))
    tuned = [p for p in backbone.parameters() if p.requires_grad]

    def loss(batch: Tensor) -> Tensor:
        return F.cross_entropy(head(backbone(_prepared(pictures[batch]))), maps[batch])

    backbone.train(), head.train()
    start = time.perf_counter()
    fit([*tuned, *head.parameters()], loss, len(pictures), steps=steps, rate=rate)
    return dict(
        seconds=time.perf_counter() - start,
        backbone_parameters=sum(p.numel() for p in tuned),
        head_parameters=sum(p.numel() for p in head.parameters()),
        select=_mean_iou(backbone, head, *data['select']),
        test=_mean_iou(backbone, head, *data['test']),
    )


def _prepared(pictures: Tensor) -> Tensor:
    """Pixels as the backbone sees them."""
    return (pictures.float() - 127.5) / 64


class _Head(nn.Module):
    """The same small head for every method: all maps to one stride, summed, and two layers.

    Args:
        channels: of the backbone's maps.
        size: side of the images.
        width: of the head.
    """

    def __init__(self, channels: Sequence[int], size: int, *, width: int = 64) -> None:
        super().__init__()
        self.size = size
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, kernel_size=1) for c in channels)
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, len(SHAPES_CLASSES) + 1, kernel_size=1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of a backbone -> logits ``(B, classes, size, size)``."""
        size = (self.size // 4, self.size // 4)
        laterals = [
            F.interpolate(layer(m), size=size, mode='bilinear')
            for layer, m in zip(self.lateral, maps, strict=True)
        ]
        return F.interpolate(self.mix(sum(laterals)), size=(self.size, self.size), mode='bilinear')


@torch.no_grad()
def _mean_iou(backbone: nn.Module, head: nn.Module, pictures: Tensor, maps: Tensor) -> float:
    """Mean intersection over union, background included."""
    classes = len(SHAPES_CLASSES) + 1
    confusion = torch.zeros(classes, classes)
    backbone.eval(), head.eval()
    for start in range(0, len(pictures), 32):
        batch = slice(start, start + 32)
        found = head(backbone(_prepared(pictures[batch]))).argmax(1)
        pairs = (maps[batch] * classes + found).flatten()
        confusion += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diag()
    return (confusion.diag() / union.clamp(min=1)).mean().item()
