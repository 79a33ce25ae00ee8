"""Position embeddings for maps of any size.

The original ViT-Adapter resamples bicubically without antialiasing (Chen et al.,
https://arxiv.org/abs/2205.08534, released code), which timm's helper does not do by default.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resample_grid_embedding(
    embedding: Tensor, source_hw: tuple[int, int], target_hw: tuple[int, int]
) -> Tensor:
    """Resamples the map part of a position embedding to another map size.

    Args:
        embedding: ``(1, H * W, C)``, without prefix tokens.
        source_hw: ``(H, W)`` of ``embedding``.
        target_hw: ``(H', W')`` wanted.

    Returns:
        ``(1, H' * W', C)`` in the dtype of ``embedding``; interpolated in float32 at least.
    """
    if tuple(source_hw) == tuple(target_hw):
        return embedding
    height, width = source_hw
    grid = embedding.transpose(1, 2).reshape(1, -1, height, width)
    grid = grid.to(torch.promote_types(grid.dtype, torch.float32))
    grid = F.interpolate(grid, size=target_hw, mode='bicubic', align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(embedding.dtype)  # (1, H'*W', C)
