"""``PlainMaskDecoder``: a mask decoder on the maps of a frozen encoder, after PMT.

PMT: "Plain Mask Transformer", CVPR Workshops 2026, https://arxiv.org/abs/2603.25398. What EoMT does
with the last blocks of an encoder that it trains, a few plain blocks do behind one that stays as it
is, and that other tasks may share: queries and the tokens of a map in one sequence, with rotary
positions on the map. The map is the sum of several depths, each normalised, projected and scaled.

Two things are otherwise than in the original. The encoder's prefix tokens (CLS, registers) don't
come along: a backbone gives maps. And its final norm, which the original puts before each batch
norm, is one without scale and offset here: what they would do, the batch norm undoes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import RotaryEmbeddingDinoV3
from timm.models.eva import EvaBlock
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.maps import dense, map_of
from vitadapter_dense.heads.mask_predictor import MaskPrediction, MaskPredictor
from vitadapter_dense.heads.masked_attention import attention_mask


class Lateral(nn.Module):
    """A map of the encoder -> its part of the decoder's map.

    Args:
        in_channels: of the encoder's map.
        width: of the decoder; other channels are projected to it.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.project = nn.Identity() if in_channels == width else nn.Linear(in_channels, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width)
        )
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, feature_map: Tensor, hw: tuple[int, int]) -> Tensor:
        """``(B, C, h, w)`` -> ``(B, H * W, width)``, resized to ``hw``."""
        x = F.layer_norm(feature_map.movedim(1, -1), feature_map.shape[1:2])
        x = dense(self.norm(map_of(x)))
        if x.shape[-2:] != hw:
            x = F.interpolate(x, hw, mode='bilinear')
        x = self.project(x.flatten(2).transpose(1, 2))
        return (x + self.mlp(x)) * self.scale


@MODELS.register_module()
class PlainMaskDecoder(BaseModule):
    """Maps of an encoder -> predictions of queries; behind each block while training.

    Args:
        num_classes: without 'no object'.
        num_queries: as many objects (or classes, in semantic segmentation) an image may have.
        in_channels: of the encoder's maps, one entry for each depth.
        in_strides: of these maps, in pixels; default: all are ``stride``.
        stride: of the decoder's map, to which the others are resized: one of ``in_strides``.
        width: channels of the decoder; default: those of the first map.
        num_heads: of the attention; default: one for 64 channels.
        num_blocks: of the decoder.
        mlp_ratio: hidden channels of a block's MLP, in multiples of ``width``.

    Attributes:
        mask_probabilities: of each block, that a query looks only where its mask is, while
            training; set by ``MaskAnnealingHook``; 0 without it.

    Raises:
        ValueError: channels, strides and heads that do not fit each other.
    """

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        *,
        in_channels: Sequence[int],
        in_strides: Sequence[int] | None = None,
        stride: int = 16,
        width: int | None = None,
        num_heads: int | None = None,
        num_blocks: int = 6,
        mlp_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        strides = [stride] * len(in_channels) if in_strides is None else list(in_strides)
        if len(strides) != len(in_channels) or stride not in strides:
            raise ValueError(
                f'in_strides={strides} must have an entry for each of in_channels='
                f'{list(in_channels)}, and stride={stride} must be one of them'
            )
        width = in_channels[0] if width is None else width
        heads = max(1, width // 64) if num_heads is None else num_heads
        if width % (4 * heads):
            raise ValueError(
                f'width={width} and num_heads={heads}: the channels of a head must be a multiple '
                f'of 4, for rotary positions'
            )
        self.stride, self._base = stride, strides.index(stride)
        self.laterals = nn.ModuleList(Lateral(channels, width) for channels in in_channels)
        self.queries = nn.Embedding(num_queries, width)
        self.rope = RotaryEmbeddingDinoV3(width // heads)
        self.blocks = nn.ModuleList(
            EvaBlock(
                width,
                heads,
                qkv_fused=False,
                mlp_ratio=mlp_ratio,
                num_prefix_tokens=num_queries,
                rotate_half=True,
                init_values=1.0,
            )
            for _ in range(num_blocks)
        )
        self.predictor = MaskPredictor(width, num_classes, stride=stride)
        self.mask_probabilities = [0.0] * num_blocks

    def forward(self, maps: Sequence[Tensor]) -> list[MaskPrediction]:
        """Predictions before each block and behind the last; in eval mode the last one alone.

        Args:
            maps: ``(B, C, H, W)`` of each depth.

        Raises:
            ValueError: not as many maps as depths, or others.
        """
        self._check(maps)
        height, width = maps[self._base].shape[-2:]
        hw = (height, width)
        tokens = sum(lateral(each, hw) for lateral, each in zip(self.laterals, maps, strict=True))
        count = self.queries.num_embeddings
        x = torch.cat([self.queries.weight.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        rotation = self.rope.get_embed(shape=[height, width])
        predictions = []
        for block, probability in zip(self.blocks, self.mask_probabilities, strict=True):
            mask = None
            if self.training:
                predictions.append(self.predictor(x[:, :count], x[:, count:], hw))
                if probability > 0:
                    mask = attention_mask(
                        predictions[-1].masks, hw, others=0, probability=probability
                    )
            x = block(x, rope=rotation, attn_mask=mask)
        return [*predictions, self.predictor(x[:, :count], x[:, count:], hw)]

    def _check(self, maps: Sequence[Tensor]) -> None:
        expected = [lateral.norm.num_features for lateral in self.laterals]
        if [each.shape[1] for each in maps] != expected:
            raise ValueError(
                f'the backbone gives {len(maps)} maps of {[each.shape[1] for each in maps]} '
                f'channels, but the decoder has in_channels={expected}: set it to the former, or '
                f'give the backbone out_indices for {len(expected)} depths'
            )
