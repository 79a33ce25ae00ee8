"""``Extractor``: the ViT's features into the pyramid.

ViT-Adapter (https://arxiv.org/abs/2205.08534), section 3.4: multi-scale deformable attention from
the pyramid (queries) to the map of ViT tokens, then a feed-forward network with a depthwise
convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from vitadapter_dense.adapter.attention import AttentionKind, make_attention
from vitadapter_dense.adapter.drop_path import DropPath
from vitadapter_dense.adapter.geometry import Geometry, Level, flatten_maps, split_maps


class LevelwiseDWConv(nn.Module):
    """A 3x3 depthwise convolution, the same on every level."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim)

    def forward(self, x: Tensor, levels: Sequence[Level]) -> Tensor:
        """``(B, S, C)`` at ``levels`` -> the same shape."""
        return flatten_maps([self.dwconv(level_map) for level_map in split_maps(x, levels)])


class ConvFFN(nn.Module):
    """Feed-forward network with a depthwise convolution between its linear layers.

    Args:
        dim: channels C.
        hidden_dim: channels in between.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.dwconv = LevelwiseDWConv(hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor, levels: Sequence[Level]) -> Tensor:
        """``(B, S, C)`` at ``levels`` -> the same shape."""
        return self.fc2(self.act(self.dwconv(self.fc1(x), levels)))


class Extractor(nn.Module):
    """Adds what the pyramid finds in the ViT's map.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        n_points: sampling points for each head.
        deform_ratio: width of the attention's values relative to ``dim``.
        with_cffn: follow the attention with a :class:`ConvFFN`.
        cffn_ratio: its hidden width relative to ``dim``.
        drop_path: rate of stochastic depth; acts on the ConvFFN alone, as in the original.
        norm: makes a normalisation layer over the last axis.
        attention: kind of the attention.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        n_points: int = 4,
        deform_ratio: float = 1.0,
        with_cffn: bool = True,
        cffn_ratio: float = 0.25,
        drop_path: float = 0.0,
        norm: Callable[[int], nn.Module],
        attention: AttentionKind = 'deformable',
    ) -> None:
        super().__init__()
        self.query_norm = norm(dim)
        self.feat_norm = norm(dim)
        self.attn = make_attention(
            attention, dim, num_heads, n_levels=1, n_points=n_points, ratio=deform_ratio
        )
        self.with_cffn = with_cffn
        if with_cffn:
            self.ffn = ConvFFN(dim, int(dim * cffn_ratio))
            self.ffn_norm = norm(dim)
            self.drop_path = DropPath(drop_path)

    def forward(self, pyramid: Tensor, tokens: Tensor, geometry: Geometry) -> Tensor:
        """``pyramid (B, S, C)`` and ``tokens (B, N, C)`` -> pyramid ``(B, S, C)``."""
        pyramid = pyramid + self.attn(
            self.query_norm(pyramid), self.feat_norm(tokens), geometry.from_pyramid
        )
        if self.with_cffn:
            pyramid = pyramid + self.drop_path(self.ffn(self.ffn_norm(pyramid), geometry.levels))
        return pyramid
