"""Masked attention that goes away during training: where a query may look.

Mask2Former lets a query look only where its mask is; that trains fast, but needs a mask before each
block. EoMT (https://arxiv.org/abs/2503.19108, section 3.3) opens the masks block by block while it
trains, each query with a growing probability, so that none is left in the end and predicting needs
none. In eval mode there never is one: before the end of a training, scores are lower for it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attention_mask(
    masks: Tensor, hw: tuple[int, int], *, others: int, probability: float
) -> Tensor:
    """Where each token may look: queries inside their masks, all others everywhere.

    Args:
        masks: ``(B, Q, h, w)`` logits of the queries.
        hw: ``(H, W)`` of the map in the sequence.
        others: tokens between the queries and the map.
        probability: of each query that its mask counts; else it looks everywhere, too.

    Returns:
        ``(B, 1, N, N)`` booleans for a sequence of queries, others and the map's tokens.
    """
    inside = F.interpolate(masks.detach().float(), hw, mode='bilinear') > 0
    inside = inside.flatten(2)  # (B, Q, H*W)
    batch, queries, cells = inside.shape
    if probability < 1:
        is_open = torch.rand(batch, queries, 1, device=masks.device) >= probability
        inside = inside | is_open
    before = inside.new_ones(batch, queries, queries + others)
    rest = inside.new_ones(batch, others + cells, queries + others + cells)
    return torch.cat([torch.cat([before, inside], dim=2), rest], dim=1)[:, None]
