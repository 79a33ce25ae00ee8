"""``WindowedAttention``: takes the place of a timm block's attention where a ViT attends in
windows.

Window attention in plain ViTs for detection follows ViTDet (Li et al.,
https://arxiv.org/abs/2203.16527, section 3) as ViT-Adapter uses it. Padded positions are not
masked, as in the original:

- ``pad='qkv'`` pads queries, keys and values with zeros after the linear layer (the original's
ViT): a
  padded key has logit 0 and a padded value is 0.
- ``pad='input'`` pads before the linear layer (the original's BEiT): padded keys and values are the
bias.

Prefix tokens (CLS, registers, prompts) join every window; what the windows make of them is
averaged.
"""

from __future__ import annotations

from typing import Literal

import torch
from timm.layers import Attention
from torch import Tensor, nn
from torch.nn import functional as F

WindowPad = Literal['qkv', 'input']


def partition_windows(x: Tensor, hw: tuple[int, int], window: int) -> Tensor:
    """``(B, H * W, C)`` -> ``(B * num_windows, window**2, C)``, zero-padded at the bottom and
    right."""
    (height, width), (batch, _, channels) = hw, x.shape
    x = x.view(batch, height, width, channels)
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x.view(batch, rows, window, columns, window, channels).transpose(2, 3)
    return x.reshape(batch * rows * columns, window * window, channels)


def merge_windows(windows: Tensor, hw: tuple[int, int], window: int) -> Tensor:
    """``(B * num_windows, window**2, C)`` -> ``(B, H * W, C)``: undoes
    :func:`partition_windows`."""
    height, width = hw
    rows, columns = -(-height // window), -(-width // window)
    x = windows.view(-1, rows, columns, window, window, windows.shape[-1]).transpose(2, 3)
    x = x.reshape(-1, rows * window, columns * window, windows.shape[-1])
    return x[:, :height, :width].flatten(1, 2)  # (B, H*W, C)


class WindowedAttention(nn.Module):
    """Self-attention within square windows, on the parameters of a timm :class:`Attention`.

    The parameters keep timm's names. The layout of the tokens is set with :meth:`set_layout` right
    before each forward pass, because a timm block hands on nothing but the tokens.

    Args:
        attention: the global attention to replace.
        window: side of a window in tokens.
        pad: where a map that is no multiple of the window is padded; see the module's text.
    """

    def __init__(self, attention: Attention, window: int, *, pad: WindowPad = 'qkv') -> None:
        super().__init__()
        if attention.gate is not None:
            raise TypeError('windowed attention does not support a gated timm attention')
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.window, self.pad = window, pad
        self.qkv = attention.qkv
        self.q_norm, self.k_norm = attention.q_norm, attention.k_norm
        self.attn_drop = attention.attn_drop
        self.norm = attention.norm
        self.proj, self.proj_drop = attention.proj, attention.proj_drop
        self._hw, self._num_prefix = (0, 0), 0

    def set_layout(self, hw: tuple[int, int], num_prefix: int) -> None:
        """Tells the size ``(H, W)`` of the map and the number of tokens before it."""
        self._hw, self._num_prefix = hw, num_prefix

    def _windows_of_qkv(self, x: Tensor) -> Tensor:
        """``(B, N, C)`` -> ``(B * num_windows, num_prefix + window**2, 3 * M * D)``."""
        num_prefix = self._num_prefix
        if self.pad == 'qkv':
            x = self.qkv(x)
        windows = partition_windows(x[:, num_prefix:], self._hw, self.window)
        if num_prefix:
            per_image = windows.shape[0] // x.shape[0]
            prefix = x[:, :num_prefix].repeat_interleave(per_image, dim=0)
            windows = torch.cat([prefix, windows], dim=1)
        return windows if self.pad == 'qkv' else self.qkv(windows)

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """``(B, num_prefix + H * W, C)`` -> the same shape. Masks are not supported."""
        if attn_mask is not None or is_causal:
            raise ValueError('windowed attention takes no mask')
        num_prefix = self._num_prefix
        qkv = self._windows_of_qkv(x)
        windows, length, _ = qkv.shape
        qkv = qkv.view(windows, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each (B*num_windows, M, N, D)
        out = F.scaled_dot_product_attention(
            self.q_norm(q),
            self.k_norm(k),
            v,
            dropout_p=self.attn_drop.p if self.training else 0.0,
        )
        out = out.transpose(1, 2).reshape(windows, length, -1)  # (B*num_windows, N, M*D)
        grid = merge_windows(out[:, num_prefix:], self._hw, self.window)
        if num_prefix:
            prefix = out[:, :num_prefix].unflatten(0, (x.shape[0], -1)).mean(1)
            grid = torch.cat([prefix, grid], dim=1)
        return self.proj_drop(self.proj(self.norm(grid)))

    def extra_repr(self) -> str:
        return f'window={self.window}, pad={self.pad!r}'
