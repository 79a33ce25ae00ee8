"""``Injector``: spatial features into the ViT's tokens.

ViT-Adapter (https://arxiv.org/abs/2205.08534), section 3.3: ``x + gamma * attention(norm(x),
norm(c))`` with multi-scale deformable attention from the tokens (queries) to the pyramid, and a
learnable vector gamma that starts at 0, so that training starts from the untouched ViT.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitadapter_dense.adapter.attention import AttentionKind, make_attention
from vitadapter_dense.adapter.geometry import Geometry, resample, split_maps


class Injector(nn.Module):
    """Adds what the tokens find in the pyramid.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        n_points: sampling points for each head and level.
        n_levels: levels of the pyramid.
        deform_ratio: width of the attention's values relative to ``dim``.
        norm: makes a normalisation layer over the last axis.
        init_value: start of gamma.
        attention: kind of the attention.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        n_points: int = 4,
        n_levels: int = 3,
        deform_ratio: float = 1.0,
        norm: Callable[[int], nn.Module],
        init_value: float = 0.0,
        attention: AttentionKind = 'deformable',
    ) -> None:
        super().__init__()
        self.query_norm = norm(dim)
        self.feat_norm = norm(dim)
        self.attn = make_attention(
            attention, dim, num_heads, n_levels=n_levels, n_points=n_points, ratio=deform_ratio
        )
        self.gamma = nn.Parameter(torch.full((dim,), float(init_value)))

    def forward(self, tokens: Tensor, pyramid: Tensor, geometry: Geometry) -> Tensor:
        """``tokens (B, N, C)`` and ``pyramid (B, S, C)`` -> tokens ``(B, N, C)``."""
        found = self.attn(self.query_norm(tokens), self.feat_norm(pyramid), geometry.from_tokens)
        return tokens + self.gamma * found


class AddedPrior(nn.Module):
    """An injector without attention: the pyramid's maps, resized and added to the tokens.

    "Add" in the paper's table 6, whose text says no more of it; that it is done before each span of
    blocks, as injectors do it, is ours.
    """

    def forward(self, tokens: Tensor, pyramid: Tensor, geometry: Geometry) -> Tensor:
        """``tokens (B, N, C)`` and ``pyramid (B, S, C)`` -> tokens ``(B, N, C)``."""
        for level_map, level in zip(
            split_maps(pyramid, geometry.levels), geometry.levels, strict=True
        ):
            resized = resample(level_map, level, geometry.token_level)
            tokens = tokens + resized.flatten(2).transpose(1, 2)
        return tokens
