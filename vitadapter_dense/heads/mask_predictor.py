"""``MaskPredictor``: classes and masks from queries and a map, as EoMT and PMT have it.

EoMT: Kerssies et al., CVPR 2025, https://arxiv.org/abs/2503.19108, section 3.2: no pixel decoder;
transposed convolutions bring the ViT's own map to stride 4, and a mask is its product with a query.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from vitadapter_dense.encoders.maps import map_of


class MaskPrediction(NamedTuple):
    """What queries say.

    Attributes:
        classes: ``(B, Q, num_classes + 1)`` logits; the last one is 'no object'.
        masks: ``(B, Q, H, W)`` logits, at about stride 4.
    """

    classes: Tensor
    masks: Tensor


class MaskPredictor(nn.Module):
    """Queries and a map -> classes and masks.

    Args:
        width: channels of queries and map.
        num_classes: without 'no object'.
        stride: of the map, in pixels. It is doubled in size until its stride is 4, at least once.
    """

    def __init__(self, width: int, num_classes: int, *, stride: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )
        doublings = max(1, stride.bit_length() - 3)  # 16 and 14 pixels: 2 and 1, as the original
        self.upscale = nn.Sequential(*(_doubled(width) for _ in range(doublings)))

    def forward(self, queries: Tensor, tokens: Tensor, hw: tuple[int, int]) -> MaskPrediction:
        """The prediction, without the masks' sigmoid.

        Args:
            queries: ``(B, Q, C)``.
            tokens: ``(B, H * W, C)`` of the map.
            hw: ``(H, W)``.
        """
        queries, tokens = self.norm(queries), self.norm(tokens)
        feature_map = map_of(tokens.unflatten(1, hw))
        masks = torch.einsum('bqc,bchw->bqhw', self.mask_embed(queries), self.upscale(feature_map))
        return MaskPrediction(self.classify(queries), masks)


def _doubled(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(width, width, 2, stride=2),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        LayerNorm2d(width),
    )
