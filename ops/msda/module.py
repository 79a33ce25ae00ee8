"""``MSDeformAttn``: the attention module of Deformable DETR (https://arxiv.org/abs/2010.04159),
section 4.1.

State-dict names are Deformable DETR's (``sampling_offsets``, ``attention_weights``, ``value_proj``,
``output_proj``). ``ratio`` narrows the values, as in ViT-Adapter
(https://arxiv.org/abs/2205.08534), where it is 0.5 for the base and large models.
"""

from __future__ import annotations

import math
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from msda.checks import LevelShapes, flat_shapes
from msda.functional import ms_deform_attn_fused


class MSDeformAttn(nn.Module):
    """Multi-scale deformable attention.

    Args:
        d_model: channels C of queries and features.
        n_levels: number L of feature levels.
        n_heads: number M of heads; must divide ``ratio * d_model``.
        n_points: number P of sampling points for each head and level.
        ratio: width of the values relative to ``d_model``.

    Raises:
        ValueError: a number is not positive or no integer, or the heads do not divide the width of
            the values.
    """

    def __init__(
        self,
        d_model: int = 256,
        n_levels: int = 4,
        *,
        n_heads: int = 8,
        n_points: int = 4,
        ratio: float = 1.0,
    ) -> None:
        super().__init__()
        sizes = dict(
            d_model=d_model, n_levels=n_levels, n_heads=n_heads, n_points=n_points, ratio=ratio
        )
        for name, size in sizes.items():
            if name != 'ratio' and not isinstance(size, Integral):
                raise ValueError(f'{name}={size!r}; it must be an integer')
            if not size > 0:
                raise ValueError(f'{name}={size}; it must be positive')
        value_dim = int(d_model * ratio)
        if value_dim % n_heads or not value_dim:
            raise ValueError(
                f'n_heads={n_heads} does not divide the value width int(d_model * ratio) = '
                f'int({d_model} * {ratio}) = {value_dim}; choose heads that do'
            )
        self.d_model, self.n_levels, self.n_heads, self.n_points = (
            d_model,
            n_levels,
            n_heads,
            n_points,
        )
        self.ratio = ratio
        self.sampling_offsets = nn.Linear(d_model, n_heads * n_levels * n_points * 2)
        self.attention_weights = nn.Linear(d_model, n_heads * n_levels * n_points)
        self.value_proj = nn.Linear(d_model, value_dim)
        self.output_proj = nn.Linear(value_dim, d_model)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Offsets start as a ring: head m looks in direction 2 pi m / M, point p at distance p +
        1."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.n_heads, dtype=torch.float32) * (2 * math.pi / self.n_heads)
        ring = torch.stack([angles.cos(), angles.sin()], -1)
        ring = ring / ring.abs().max(-1, keepdim=True).values  # onto the unit square
        distances = torch.arange(1, self.n_points + 1, dtype=torch.float32)
        offsets = ring[:, None, None] * distances[:, None]  # (M, 1, P, 2)
        offsets = offsets.expand(-1, self.n_levels, -1, -1).reshape(-1)
        self.sampling_offsets.bias.copy_(offsets)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        feat: Tensor,
        spatial_shapes: LevelShapes,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attends from ``query`` to ``feat``.

        Args:
            query: ``(B, Lq, C)``.
            reference_points: ``(1|B, Lq, 1|L, 2|4)``, normalised, float32.
            feat: ``(B, S, C)``, the levels one after the other.
            spatial_shapes: L pairs ``(H, W)`` of host integers.
            padding_mask: ``(B, S)``, true where ``feat`` is padding (counts as zero).

        Returns:
            ``(B, Lq, C)``.

        Raises:
            ValueError: a shape does not fit; the message names the argument.
            TypeError: a dtype does not fit, or something is no tensor.
        """
        self._check(query, feat, spatial_shapes, padding_mask)
        batch, queries, _ = query.shape
        value = self.value_proj(feat)
        if padding_mask is not None:
            value = value.masked_fill(padding_mask[..., None], 0)
        value = value.view(batch, feat.shape[1], self.n_heads, -1)
        offsets, logits = _both(self.sampling_offsets, self.attention_weights, query)
        heads, levels, points = self.n_heads, self.n_levels, self.n_points
        output = ms_deform_attn_fused(
            value,
            spatial_shapes,
            reference_points,
            offsets.reshape(batch, queries, heads, levels, points, 2),
            logits.reshape(batch, queries, heads, levels * points),
        )
        return self.output_proj(output)

    def _check(
        self,
        query: Tensor,
        feat: Tensor,
        spatial_shapes: LevelShapes,
        padding_mask: Tensor | None,
    ) -> None:
        for name, tensor in (('query', query), ('feat', feat), ('padding_mask', padding_mask)):
            if not isinstance(tensor, Tensor) and (name, tensor) != ('padding_mask', None):
                raise TypeError(f'{name} must be a torch.Tensor; got {type(tensor).__name__}')
        for name, tensor in (('query', query), ('feat', feat)):
            if tensor.dim() != 3 or tensor.shape[2] != self.d_model:
                raise ValueError(
                    f'{name} has shape {tuple(tensor.shape)}; expected three axes, the last of '
                    f'd_model={self.d_model} channels'
                )
        if query.shape[0] != feat.shape[0]:
            raise ValueError(
                f'query has shape {tuple(query.shape)}, but feat has {tuple(feat.shape)}; they '
                f'must be of one batch'
            )
        flat = flat_shapes(spatial_shapes)
        if len(flat) != 2 * self.n_levels:
            raise ValueError(
                f'spatial_shapes has {len(flat) // 2} levels; expected n_levels={self.n_levels}'
            )
        rows = sum(height * width for height, width in zip(flat[::2], flat[1::2], strict=True))
        if rows != feat.shape[1]:
            raise ValueError(
                f'feat has shape {tuple(feat.shape)}, but spatial_shapes {list(spatial_shapes)} '
                f'add up to {rows} pixels; feat.shape[1] must be the sum of H * W over the levels'
            )
        if padding_mask is None:
            return
        if padding_mask.shape != feat.shape[:2]:
            raise ValueError(
                f'padding_mask has shape {tuple(padding_mask.shape)}; expected (B, S), that is '
                f'{tuple(feat.shape[:2])}'
            )
        if padding_mask.dtype != torch.bool or padding_mask.device != feat.device:
            raise ValueError(
                f'padding_mask is {padding_mask.dtype} on {padding_mask.device}; expected '
                f'torch.bool on {feat.device}'
            )

    def extra_repr(self) -> str:
        return (
            f'd_model={self.d_model}, n_levels={self.n_levels}, n_heads={self.n_heads}, '
            f'n_points={self.n_points}, ratio={self.ratio}'
        )


def _both(one: nn.Module, other: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What two linear layers give: in one matrix product, where nothing can tell the difference."""
    if not (_is_bare(one) and _is_bare(other)) or _has_any_global_hook():
        return one(x), other(x)
    weight, bias = torch.cat([one.weight, other.weight]), torch.cat([one.bias, other.bias])
    return F.linear(x, weight, bias).split([one.out_features, other.out_features], dim=-1)


def _is_bare(layer: nn.Module) -> bool:
    """Whether a layer is a linear layer and nothing else.

    Hooks must act, and what takes a layer's place (low-rank changes, parametrisations, quantised
    layers and weights) must be called.
    """
    hooks = (
        layer._forward_hooks,
        layer._forward_pre_hooks,
        layer._backward_hooks,
        layer._backward_pre_hooks,
    )
    return (
        type(layer) is nn.Linear
        and 'forward' not in vars(layer)
        and not any(hooks)
        and type(layer.weight) is type(layer.bias) is nn.Parameter
    )
