"""The attention of injectors and extractors, of which the deformable one is a choice.

ViT-Adapter (https://arxiv.org/abs/2205.08534), section 4.4 and table 7: global, CSwin, pale and
deformable attention. The text describes none of the others, so that these are ours: widths and
stripes are those that give the table's numbers of parameters and operations. Pale attention, whose
two numbers leave its groups of rows and columns open, is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msda import MSDeformAttn
from vitadapter_dense.adapter.geometry import Level, Sight

AttentionKind = Literal['deformable', 'global', 'cswin']

_STRIPE = 32  # pixels


class DeformableAttention(MSDeformAttn):
    """Each query looks at a few points around its own place (section 3.4)."""

    def forward(self, query: Tensor, feat: Tensor, sight: Sight) -> Tensor:
        """``query (B, Lq, C)`` and ``feat (B, S, C)`` -> ``(B, Lq, C)``."""
        return super().forward(query, sight.points, feat, [level.hw for level in sight.values])


class GlobalAttention(nn.Module):
    """Each query looks at everything (https://arxiv.org/abs/1706.03762, section 3.2.2).

    Args:
        dim: channels C.
        num_heads: heads; must divide ``int(dim * ratio)``.
        ratio: width of queries, keys and values relative to ``dim``.

    Raises:
        ValueError: heads that do not divide the width.
    """

    def __init__(self, dim: int, num_heads: int, *, ratio: float = 1.0) -> None:
        super().__init__()
        width = int(dim * ratio)
        if width % num_heads:
            raise ValueError(
                f'deform_num_heads={num_heads} does not divide the width int({dim} * {ratio}) = '
                f'{width} of the attention; choose heads that do'
            )
        self.num_heads = num_heads
        self.query_proj = nn.Linear(dim, width)
        self.key_proj = nn.Linear(dim, width)
        self.value_proj = nn.Linear(dim, width)
        self.output_proj = nn.Linear(width, dim)
        for linear in (self.query_proj, self.key_proj, self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: Tensor, feat: Tensor, sight: Sight) -> Tensor:
        """``query (B, Lq, C)`` and ``feat (B, S, C)`` -> ``(B, Lq, C)``."""
        q, k, v = self.query_proj(query), self.key_proj(feat), self.value_proj(feat)
        return self.output_proj(self._attend(q, k, v, sight))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, sight: Sight) -> Tensor:
        return _attention(q, k, v, self.num_heads)


class StripeAttention(GlobalAttention):
    """Each query looks along its row and its column of the image.

    After CSWin (https://arxiv.org/abs/2107.00652, section 3.2): half of the heads look within
    horizontal stripes of the image, the others within vertical ones. Stripes are 32 pixels wide on
    every level: 2 rows of tokens of 16 pixels. There is no positional encoding, since the queries
    stand on another grid than the values.

    Raises:
        ValueError: an odd number of heads.
    """

    def __init__(self, dim: int, num_heads: int, *, ratio: float = 1.0) -> None:
        super().__init__(dim, num_heads, ratio=ratio)
        if num_heads % 2:
            raise ValueError(
                f"deform_num_heads={num_heads}: attention='cswin' needs an even number, half of "
                f'the heads for each direction'
            )

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, sight: Sight) -> Tensor:
        halves = zip(q.chunk(2, dim=-1), k.chunk(2, dim=-1), v.chunk(2, dim=-1), strict=True)
        found = []
        for axis, (queries, keys, values) in enumerate(halves, start=1):
            stripes = _attention(
                _cut(queries, sight.queries, axis),
                _cut(keys, sight.values, axis),
                _cut(values, sight.values, axis),
                self.num_heads // 2,
                _is_cell(keys, sight.values, axis),
            )
            found.append(_join(stripes, sight.queries, axis))
        return torch.cat(found, dim=-1)


def make_attention(
    kind: AttentionKind, dim: int, num_heads: int, *, n_levels: int, n_points: int, ratio: float
) -> nn.Module:
    """A module that is called with queries, features and a :class:`Sight`.

    Args:
        kind: which.
        dim: channels C.
        num_heads: its heads.
        n_levels: levels of the features, of the deformable attention.
        n_points: its sampling points for each head and level.
        ratio: width of the values relative to ``dim``; of the others that of queries and keys, too.
    """
    if kind == 'deformable':
        return DeformableAttention(dim, n_levels, n_heads=num_heads, n_points=n_points, ratio=ratio)
    made = StripeAttention if kind == 'cswin' else GlobalAttention
    return made(dim, num_heads, ratio=ratio)


def check_attention(kind: str, patch_size: int) -> None:
    """Raises for an unknown kind, or one that does not work with patches of this size."""
    if kind not in get_args(AttentionKind):
        raise ValueError(f'attention={kind!r} is unknown; choose one of {get_args(AttentionKind)}')
    if kind == 'cswin' and _STRIPE % patch_size:
        raise ValueError(
            f"attention='cswin' cuts an image into stripes of {_STRIPE} pixels, of which patches "
            f'of {patch_size} pixels make no whole number: take an encoder with patches of 16'
        )


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """``(..., Lq, W)`` and twice ``(..., S, W)`` -> ``(..., Lq, W)``; masked: where to look."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(-3, -2).flatten(-2)


def _cut(x: Tensor, levels: Sequence[Level], axis: int) -> Tensor:
    """``(B, S, W)`` -> stripes of rows (``axis`` 1) or columns (2), ``(B, stripes, cells, W)``."""
    parts = []
    for part, level in zip(x.split([level.size for level in levels], dim=1), levels, strict=True):
        grid = part.unflatten(1, level.hw).transpose(1, axis)  # (B, side, other side, W)
        thick = _STRIPE // level.stride
        grid = F.pad(grid, (0, 0, 0, 0, 0, -grid.shape[1] % thick))
        parts.append(grid.unflatten(1, (-1, thick)).flatten(2, 3))
    return torch.cat(parts, dim=2)


def _join(stripes: Tensor, levels: Sequence[Level], axis: int) -> Tensor:
    """Undoes :func:`_cut`."""
    sides = [(level.hw[axis - 1], level.hw[2 - axis], _STRIPE // level.stride) for level in levels]
    parts = stripes.split([other * thick for _, other, thick in sides], dim=2)
    rows = []
    for part, (side, other, _) in zip(parts, sides, strict=True):
        grid = part.unflatten(2, (-1, other)).flatten(1, 2)[:, :side]
        rows.append(grid.transpose(1, axis).flatten(1, 2))
    return torch.cat(rows, dim=1)


def _is_cell(x: Tensor, levels: Sequence[Level], axis: int) -> Tensor | None:
    """True at the cells of :func:`_cut` that are no padding; ``None`` where there is none."""
    if not any(level.hw[axis - 1] % (_STRIPE // level.stride) for level in levels):
        return None
    return _cut(torch.ones_like(x[:1, :, :1]), levels, axis).bool()[..., 0][:, :, None, None]
