"""``Convpass``: convolutional bypasses beside attention and MLP.

Convolutional Bypasses Are Better Vision Transformer Adapters (Jie and Deng,
https://arxiv.org/abs/2207.07039, section 3): of a layer norm's output, added to what the branch
behind it gives.
"""

from __future__ import annotations

from functools import partial

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from vitadapter_dense.encoders.tokens import TokenLayout
from vitadapter_dense.tuning.blocks import BlockSite, BlockTuning, on_map


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


class ConvBypass(nn.Module):
    """A bottleneck with a 3x3 convolution on the map; a prefix token is a map of its own.

    Args:
        dim: channels.
        hidden: of the bottleneck.
        dropout: before the last layer.
    """

    def __init__(self, dim: int, hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(dim, hidden)
        self.conv = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(hidden, dim)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        # the convolution starts as the identity, the last layer at zero
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """``(B, num_prefix + H * W, C)`` or ``(B, H, W, C)`` -> the same shape."""
        z = _quick_gelu(self.down(x))
        mixed = on_map(z, layout, self.conv)
        if x.ndim == 3 and layout.num_prefix:
            prefix = z[:, : layout.num_prefix]
            alone = prefix.flatten(0, 1)[..., None, None]  # (B * num_prefix, C, 1, 1)
            prefix = self.conv(alone).flatten(1).view_as(prefix)
            mixed = torch.cat([prefix, mixed[:, layout.num_prefix :]], dim=1)
        return self.up(self.dropout(_quick_gelu(mixed)))


@MODELS.register_module()
class Convpass(BlockTuning):
    """Two bypasses in every transformer block.

    Args:
        hidden: channels of the bottleneck (paper: 8).
        scale: of the bypasses' output (the paper searches it for each task).
        dropout: before their last layer (authors' code: 0.1).
    """

    def __init__(self, hidden: int = 8, *, scale: float = 1.0, dropout: float = 0.1) -> None:
        super().__init__()
        self.hidden, self.scale, self.dropout = hidden, scale, dropout
        self.beside_attention = nn.ModuleList()
        self.beside_mlp = nn.ModuleList()

    def attach_block(self, site: BlockSite) -> None:
        """Two bypasses for a block."""
        index = len(self.beside_attention)
        for bypasses in (self.beside_attention, self.beside_mlp):
            bypasses.append(ConvBypass(site.dim, self.hidden, dropout=self.dropout))
        site.add_beside('attention', partial(self._beside_attention, index), normed=True)
        site.add_beside('mlp', partial(self._beside_mlp, index), normed=True)

    def _beside_attention(self, index: int, x: Tensor, layout: TokenLayout) -> Tensor:
        return self.scale * self.beside_attention[index](x, layout)

    def _beside_mlp(self, index: int, x: Tensor, layout: TokenLayout) -> Tensor:
        return self.scale * self.beside_mlp[index](x, layout)
