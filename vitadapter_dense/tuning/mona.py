"""``Mona``: adapters with depthwise convolutions of three sizes.

5%>100%: Breaking Performance Shackles of Full Fine-Tuning on Visual Recognition Tasks (Yin et al.,
CVPR 2025, https://arxiv.org/abs/2408.08345, section 3): in every block one behind the attention's
residual sum and one behind the MLP's. As published the adapters are not zero before training.
"""

from __future__ import annotations

from functools import partial

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.tokens import TokenLayout
from vitadapter_dense.tuning.blocks import BlockSite, BlockTuning, on_map


class MonaAdapter(nn.Module):
    """What Mona adds to a map of tokens.

    Args:
        dim: channels.
        hidden: of the bottleneck.
        dropout: before the last linear layer.
    """

    def __init__(self, dim: int, hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.norm_scale = nn.Parameter(torch.full((dim,), 1e-6))
        self.input_scale = nn.Parameter(torch.ones(dim))
        self.down = nn.Linear(dim, hidden)
        self.convs = nn.ModuleList(
            nn.Conv2d(hidden, hidden, kernel_size=size, padding=size // 2, groups=hidden)
            for size in (3, 5, 7)
        )
        self.mix = nn.Conv2d(hidden, hidden, kernel_size=1)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(hidden, dim)
        for linear in (self.down, self.up):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, grid: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        x = grid.movedim(1, -1)  # (B, H, W, C)
        x = self.down(self.norm_scale * self.norm(x) + self.input_scale * x)
        z = x.movedim(-1, 1)
        z = sum(conv(z) for conv in self.convs) / len(self.convs) + z
        z = z + self.mix(z)
        return self.up(self.dropout(F.gelu(z.movedim(1, -1)))).movedim(-1, 1)


@MODELS.register_module()
class Mona(BlockTuning):
    """Two Mona adapters in every transformer block; prefix tokens pass by.

    Args:
        hidden: channels of the bottleneck (authors' code: 64).
        dropout: before its last layer (authors' code: 0.1).
    """

    identity_at_start = False

    def __init__(self, hidden: int = 64, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.hidden, self.dropout = hidden, dropout
        self.after_attention = nn.ModuleList()
        self.after_mlp = nn.ModuleList()

    def attach_block(self, site: BlockSite) -> None:
        """Two adapters for a block."""
        index = len(self.after_attention)
        for adapters in (self.after_attention, self.after_mlp):
            adapters.append(MonaAdapter(site.dim, self.hidden, dropout=self.dropout))
        site.add_after('attention', partial(self._after_attention, index))
        site.add_after('mlp', partial(self._after_mlp, index))

    def _after_attention(self, index: int, x: Tensor, layout: TokenLayout) -> Tensor:
        return on_map(x, layout, self.after_attention[index])

    def _after_mlp(self, index: int, x: Tensor, layout: TokenLayout) -> Tensor:
        return on_map(x, layout, self.after_mlp[index])
