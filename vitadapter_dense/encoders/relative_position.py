"""Relative-position bias of BEiT for maps of any size.

BEiT (Bao et al., https://arxiv.org/abs/2106.08254) adds a learned bias to every attention logit,
looked up by the offset of key and query. Its table for maps of ``H x W`` tokens has
``(2H - 1) * (2W - 1)`` rows, one an offset, and three more where there is a CLS token: CLS to
token, token to CLS, CLS to itself.

For a map of another size the table is resampled as BEiT's and ViT-Adapter's code did it: the known
offsets are spread in a geometric progression, dense near zero, and a bicubic spline through them
is read at the whole offsets. A spline is linear in what it interpolates, so that one matrix an axis
does it, in PyTorch alone and with gradients.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_CLS_ROWS = 3  # CLS to token, token to CLS, CLS to itself
TABLE = 'relative_position_bias_table'
_SHARED_TABLE = f'rel_pos_bias.{TABLE}'


def table_rows(hw: tuple[int, int], with_cls: bool) -> int:
    """Number of rows of the table for maps of ``hw`` tokens."""
    return (2 * hw[0] - 1) * (2 * hw[1] - 1) + (NUM_CLS_ROWS if with_cls else 0)


def _geometric_offsets(source: int, target: int) -> np.ndarray:
    """Where ``source`` offsets stand among ``target`` whole ones: a geometric progression from 0.

    Args:
        source: odd number of offsets known.
        target: odd number of offsets wanted.

    Returns:
        ``source`` rising positions, symmetric about 0; the outermost is ``target // 2`` where a
        ratio between 1.01 and 1.5 (the original's limits) can reach it.
    """
    steps = source // 2
    low, high = 1.01, 1.5
    ratio = low
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**steps) / (1 - ratio) > target // 2:
            high = ratio
        else:
            low = ratio
    distances = np.cumsum(ratio ** np.arange(steps))
    return np.concatenate([-distances[::-1], [0.0], distances])


def _spline_basis(knots: np.ndarray, degree: int, at: np.ndarray) -> np.ndarray:
    """B-spline basis by the Cox-de Boor recursion: ``(len(at), number of basis functions)``."""
    last = len(knots) - degree - 2  # the last interval that is not empty holds its right end too
    interval = np.clip(np.searchsorted(knots, at, side='right') - 1, degree, last)
    basis = np.zeros((len(at), len(knots) - 1))
    basis[np.arange(len(at)), interval] = 1.0
    for order in range(1, degree + 1):
        raised = np.zeros((len(at), len(knots) - 1 - order))
        for index in range(raised.shape[1]):
            left = knots[index + order] - knots[index]
            right = knots[index + order + 1] - knots[index + 1]
            if left > 0:
                raised[:, index] += (at - knots[index]) / left * basis[:, index]
            if right > 0:
                raised[:, index] += (knots[index + order + 1] - at) / right * basis[:, index + 1]
        basis = raised
    return basis


def spline_matrix(nodes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The matrix that evaluates the cubic spline through values at ``nodes``.

    The spline has no knot at the second and the last but one node ("not a knot"); beyond the nodes
    it keeps its border value. Fewer than four nodes lower its degree.

    Args:
        nodes: ``(N,)``, rising.
        at: ``(M,)``.

    Returns:
        ``(M, N)`` in float64.
    """
    degree = min(3, len(nodes) - 1)
    ends = np.ones(degree + 1)
    knots = np.concatenate([nodes[0] * ends, nodes[2:-2], nodes[-1] * ends])
    through = _spline_basis(knots, degree, nodes)
    return _spline_basis(knots, degree, np.clip(at, nodes[0], nodes[-1])) @ np.linalg.inv(through)


@lru_cache(maxsize=128)
def _cached_matrix(source: int, target: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    known, wanted = 2 * source - 1, 2 * target - 1
    at = np.arange(wanted) - wanted // 2.0
    matrix = spline_matrix(_geometric_offsets(known, wanted), at)
    return torch.from_numpy(matrix).to(device=device, dtype=dtype)


# An operator, because torch.compile cannot trace how the matrix is made.
@torch.library.custom_op('vitadapter_dense::resize_matrix', mutates_args=())
def _resize_matrix(source: int, target: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """``(2 * target - 1, 2 * source - 1)``: the table's rows for another number of tokens."""
    return _cached_matrix(source, target, device, dtype).clone()


@_resize_matrix.register_fake
def _(source: int, target: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.empty(2 * target - 1, 2 * source - 1, device=device, dtype=dtype)


def resize_table(table: Tensor, source_hw: tuple[int, int], target_hw: tuple[int, int]) -> Tensor:
    """Resamples a table for maps of another size, with gradients.

    Args:
        table: ``((2H - 1) * (2W - 1) [+ 3], heads)``.
        source_hw: ``(H, W)`` of ``table``.
        target_hw: ``(H', W')`` wanted.

    Returns:
        ``((2H' - 1) * (2W' - 1) [+ 3], heads)`` in the dtype of ``table``; interpolated in float32
        at least. Rows of a CLS token are taken over as they are.
    """
    if tuple(source_hw) == tuple(target_hw):
        return table
    offsets = table_rows(source_hw, with_cls=False)
    grid, rest = table[:offsets], table[offsets:]
    kind = torch.promote_types(table.dtype, torch.float32)
    of_rows, of_columns = (
        _resize_matrix(source, target, table.device, kind)
        for source, target in zip(source_hw, target_hw, strict=True)
    )
    grid = grid.to(kind).view(2 * source_hw[0] - 1, 2 * source_hw[1] - 1, -1)
    grid = torch.einsum('yi,ijm,xj->yxm', of_rows, grid, of_columns)
    return torch.cat([grid.flatten(0, 1).to(table.dtype), rest])


def attention_bias(table: Tensor, hw: tuple[int, int], num_prefix: int) -> Tensor:
    """What is added to the attention logits of a map and the tokens before it.

    No index of pairs is stored: the bias of one query is a window of the table, and all of them are
    overlapping windows of it turned round.

    Args:
        table: ``((2H - 1) * (2W - 1) [+ 3], heads)``.
        hw: ``(H, W)`` of the map.
        num_prefix: tokens before the map. With rows for CLS the first of them is CLS; the bias of
            all other prefix tokens (prompts) is 0.

    Returns:
        ``(1, heads, num_prefix + H * W, num_prefix + H * W)``, queries by keys.
    """
    height, width = hw
    offsets = table_rows(hw, with_cls=False)
    heads = table.shape[1]
    turned = table[:offsets].t().view(heads, 2 * height - 1, 2 * width - 1).flip(1, 2)
    windows = turned.unfold(1, height, 1).unfold(2, width, 1)  # (M, H, W, H, W)
    bias = windows.flip(1, 2).reshape(1, heads, height * width, height * width)
    if not num_prefix:
        return bias
    bias = F.pad(bias, (num_prefix, 0, num_prefix, 0))
    if len(table) > offsets:
        to_token, from_token, to_itself = table[offsets:, :, None]
        bias[0, :, 0, 1:] = to_token
        bias[0, :, 1:, 0] = from_token
        bias[0, :, 0, :1] = to_itself
    return bias


def _source_hw(rows: int, target_hw: tuple[int, int]) -> tuple[tuple[int, int], bool] | None:
    """The map that a table was made for, and whether it has rows for CLS; ``None``: unknown.

    A table that is not of the wanted size is taken for one of a square map, as in the original.
    """
    for with_cls in (False, True):
        if rows == table_rows(target_hw, with_cls):
            return target_hw, with_cls
    for with_cls in (False, True):
        side = math.isqrt(rows - NUM_CLS_ROWS * with_cls) if rows > NUM_CLS_ROWS else 0
        if side % 2 and side * side == rows - NUM_CLS_ROWS * with_cls:
            return (side // 2 + 1, side // 2 + 1), with_cls
    return None


def fit_tables(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """A load-state-dict pre-hook for an encoder: brings relative-position tables to its sizes.

    A table shared by all blocks is given to each; tables are resampled; rows for CLS are left out
    where the encoder has no CLS token; the index of pairs, which follows from the size, is dropped.

    Args:
        module: the encoder, with ``blocks`` whose attention has ``table_hw`` and ``with_cls``.
        state_dict: changed in place.
        prefix: of the encoder's keys.
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        if key.endswith('relative_position_index'):
            del state_dict[key]
    shared = state_dict.pop(prefix + _SHARED_TABLE, None)
    for index, block in enumerate(module.blocks):
        attention, key = block.attn, f'{prefix}blocks.{index}.attn.{TABLE}'
        table = state_dict.get(key, shared)
        if getattr(attention, TABLE, None) is None or table is None or table.ndim != 2:
            continue
        found = _source_hw(len(table), attention.table_hw)
        if found is None or (attention.with_cls and not found[1]):
            continue  # of another architecture; the report names it
        source_hw, _ = found
        if not attention.with_cls:
            table = table[: table_rows(source_hw, with_cls=False)]
        state_dict[key] = resize_table(table, source_hw, attention.table_hw)
