"""``GridAttention``: takes the place of a timm block's attention where the map's layout matters.

That is so in windows, with BEiT's relative-position bias and with rotary positions behind a
changing number of prefix tokens. Only global attention of a plain ``VisionTransformer`` stays
timm's.

Window attention in plain ViTs for detection follows ViTDet (Li et al.,
https://arxiv.org/abs/2203.16527, section 3) as ViT-Adapter uses it. Padded positions are not
masked, as in the original:

- ``pad='qkv'`` pads queries, keys and values with zeros after the linear layer (the original's
  ViT): a padded key has logit 0 and a padded value is 0.
- ``pad='input'`` pads before the linear layer (the original's BEiT): padded keys and values are
  the bias.

Prefix tokens (CLS, registers, prompts) join every window; what the windows make of them is
averaged.

**How the layout gets here.** A timm block hands its attention nothing but the tokens and its own
second argument: ``attn_mask`` in a ViT, ``rope`` in an Eva, ``shared_rel_pos_bias`` in a Beit. A
dense encoder has no use of its own for any of them, so the :class:`TokenLayout` travels there, with
the rotary table in it: ``block(x, layout)``. It is an argument like any other, so that recomputing
in another thread, compiling, two threads on one model and two models on one encoder are all right.
"""

from __future__ import annotations

from typing import Literal

import torch
from timm.layers import Attention, AttentionRope, apply_rot_embed_cat
from timm.models.beit import Attention as BeitAttention
from timm.models.eva import EvaAttention
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.relative_position import TABLE, attention_bias, resize_table
from vitadapter_dense.encoders.tokens import TokenLayout

WindowPad = Literal['qkv', 'input']


def partition_windows(x: Tensor, hw: tuple[int, int], window: int) -> Tensor:
    """``(B, H * W, C)`` -> ``(B * num_windows, window**2, C)``, zero-padded at the bottom and
    right."""
    (height, width), (batch, _, channels) = hw, x.shape
    x = x.view(batch, height, width, channels)
    rows, columns = (height + window - 1) // window, (width + window - 1) // window
    x = F.pad(x, (0, 0, 0, columns * window - width, 0, rows * window - height))
    x = x.view(batch, rows, window, columns, window, channels).transpose(2, 3)
    return x.reshape(batch * rows * columns, window * window, channels)


def merge_windows(windows: Tensor, hw: tuple[int, int], window: int) -> Tensor:
    """``(B * num_windows, window**2, C)`` -> ``(B, H * W, C)``: undoes
    :func:`partition_windows`."""
    height, width = hw
    rows, columns = (height + window - 1) // window, (width + window - 1) // window
    x = windows.view(-1, rows, columns, window, window, windows.shape[-1]).transpose(2, 3)
    x = x.reshape(-1, rows * window, columns * window, windows.shape[-1])
    return x[:, :height, :width].flatten(1, 2)  # (B, H*W, C)


class GridAttention(nn.Module):
    """Self-attention over a map and its prefix tokens, on the parameters of a timm attention.

    The parameters keep timm's names. The layout of the tokens comes with each call.

    Args:
        attention: the attention to replace: of a ``VisionTransformer``, ``Beit`` or ``Eva`` block.
        window: side of a window in tokens, ``None`` for global attention.
        pad: where a map that is no multiple of the window is padded; see the module's text.

    Raises:
        TypeError: an attention of another kind.
    """

    def __init__(
        self, attention: nn.Module, window: int | None = None, *, pad: WindowPad = 'qkv'
    ) -> None:
        super().__init__()
        if not isinstance(attention, (Attention, AttentionRope, BeitAttention, EvaAttention)):
            raise TypeError(
                f'windows and relative positions do not know the attention '
                f'{type(attention).__name__}; choose another model or window_sizes=None'
            )
        for name, child in attention.named_children():
            self.add_module(name, child)
        for name, parameter in attention.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.num_heads: int = attention.num_heads
        self.num_kv_heads: int = getattr(attention, 'num_kv_heads', attention.num_heads)
        self.head_dim: int = attention.proj.in_features // attention.num_heads
        self.rotate_half: bool = getattr(attention, 'rotate_half', False)
        self.window, self.pad = window, pad
        self.table_hw, self.with_cls = (0, 0), False

    def add_table(self, table: Tensor, hw: tuple[int, int], *, with_cls: bool) -> None:
        """Adds a learned relative-position bias.

        Args:
            table: see :mod:`vitadapter_dense.encoders.relative_position`.
            hw: the map (or window) that it is made for.
            with_cls: it has rows for a CLS token.
        """
        self.register_parameter(TABLE, nn.Parameter(table))
        self.table_hw, self.with_cls = hw, with_cls

    def _project(self, x: Tensor) -> Tensor:
        """``(B, N, C)`` -> queries, keys and values side by side.

        The linear layers are called as modules, with BEiT's separate biases added after, so that
        hooks on them act.
        """
        children = self._modules
        if children.get('qkv') is None:
            return torch.cat([children[name](x) for name in ('q_proj', 'k_proj', 'v_proj')], dim=-1)
        qkv = children['qkv'](x)
        if self._parameters.get('q_bias') is None:
            return qkv
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return qkv + bias.to(qkv.dtype)

    def _windows_of_qkv(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """``(B, N, C)`` -> ``(B * num_windows, num_prefix + window**2, 3 * M * D)``."""
        if self.window is None:
            return self._project(x)
        num_prefix = layout.num_prefix
        if self.pad == 'qkv':
            x = self._project(x)
        windows = partition_windows(x[:, num_prefix:], layout.hw, self.window)
        if num_prefix:
            per_image = windows.shape[0] // x.shape[0]
            prefix = x[:, :num_prefix].repeat_interleave(per_image, dim=0)
            windows = torch.cat([prefix, windows], dim=1)
        return windows if self.pad == 'qkv' else self._project(windows)

    def _merge(self, out: Tensor, batch: int, layout: TokenLayout) -> Tensor:
        """Undoes the windows: ``(B * num_windows, N, M * D)`` -> ``(B, N, M * D)``."""
        if self.window is None:
            return out
        num_prefix = layout.num_prefix
        grid = merge_windows(out[:, num_prefix:], layout.hw, self.window)
        if not num_prefix:
            return grid
        prefix = out[:, :num_prefix].unflatten(0, (batch, -1)).mean(1)
        return torch.cat([prefix, grid], dim=1)

    def _rotated(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """Rotates the tokens of the map by their position: ``(B, M, N, D)``."""
        if layout.rotation is None:
            return x
        num_prefix = layout.num_prefix
        grid = apply_rot_embed_cat(x[:, :, num_prefix:], layout.rotation, half=self.rotate_half)
        grid = grid.type_as(x)
        return torch.cat([x[:, :, :num_prefix], grid], dim=2) if num_prefix else grid

    def _bias(self, dtype: torch.dtype, layout: TokenLayout) -> Tensor | None:
        table, mask = self._parameters.get(TABLE), layout.attention_mask
        if mask is not None and self.window is not None:
            raise ValueError(f'a block with windows of {self.window} takes no attention_mask')
        if table is None:
            return mask
        span = layout.hw if self.window is None else (self.window, self.window)
        table = resize_table(table, self.table_hw, span)
        bias = attention_bias(table.to(dtype), span, layout.num_prefix)
        return bias if mask is None else bias.masked_fill(~mask, -torch.inf)

    def forward(
        self,
        x: Tensor,
        layout: TokenLayout | None = None,
        *,
        attn_mask: TokenLayout | None = None,
        rope: TokenLayout | None = None,
        shared_rel_pos_bias: TokenLayout | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Attends within windows or globally.

        Args:
            x: ``(B, num_prefix + H * W, C)``.
            layout: of x.
            attn_mask: the layout, from a ViT's block.
            rope: likewise, from an Eva's.
            shared_rel_pos_bias: likewise, from a Beit's.
            is_causal: not supported, part of timm's call.

        Returns:
            ``(B, num_prefix + H * W, C)``.

        Raises:
            TypeError: no layout, or something else in its place.
        """
        for handed in (attn_mask, rope, shared_rel_pos_bias):
            layout = handed if layout is None else layout
        if not isinstance(layout, TokenLayout) or is_causal:
            raise TypeError(
                f'attention of a dense encoder takes the layout of its tokens and no mask; got '
                f'{type(layout).__name__}, is_causal={is_causal}. Run blocks with TimmViT.run'
            )
        qkv = self._windows_of_qkv(x, layout)
        heads = qkv.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B*num_windows, ., N, D)
        q, k, v = heads.split([self.num_heads, self.num_kv_heads, self.num_kv_heads], dim=1)
        children = self._modules
        if 'q_norm' in children:
            q, k = children['q_norm'](q), children['k_norm'](k)
        q, k = self._rotated(q, layout).type_as(v), self._rotated(k, layout).type_as(v)
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=self._bias(q.dtype, layout),
            dropout_p=self.attn_drop.p if self.training else 0.0,
            enable_gqa=self.num_kv_heads != self.num_heads,
        )
        out = self._merge(out.transpose(1, 2).flatten(2), x.shape[0], layout)  # (B, N, M*D)
        if 'norm' in children:
            out = children['norm'](out)
        if children.get('gate') is not None:
            out = out * children['gate'](x).sigmoid()
        return self.proj_drop(self.proj(out))

    def extra_repr(self) -> str:
        return f'window={self.window}, pad={self.pad!r}'
