"""``Tokens``: the only way tokens travel between encoders, tuning methods and backbones.

What a forward pass knows travels in them, and in :class:`TokenLayout` through a timm block; nothing
of it is kept on a module, so that two threads may use one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from vitadapter_dense.encoders.maps import map_of


class TokenLayout(NamedTuple):
    """What a block is told of the tokens that it is given.

    Attributes:
        hw: ``(H, W)`` of the map.
        num_prefix: tokens before the map.
        rotation: rotary table of the map, or of the windows of the block, as timm's
            ``apply_rot_embed_cat`` takes it.
        attention_mask: ``(B, 1, N, N)``, whether a token (row) may look at another; None: at all.
    """

    hw: tuple[int, int]
    num_prefix: int = 0
    rotation: Tensor | None = None
    attention_mask: Tensor | None = None


@dataclass(frozen=True)
class Tokens:
    """A sequence of tokens that knows which of them form a map.

    Attributes:
        x: ``(B, num_prefix + H * W, C)``; CLS, registers and prompts first, then the map row by
            row.
        hw: ``(H, W)`` of the map.
        num_prefix: how many tokens stand before the map.
        images: ``(B, 3, H', W')``, what they were made of, in whole patches, for methods that look
            at the images too.
        attention_mask: ``(B, 1, N, N)`` booleans for the next block, whether a token (row) may look
            at another; None: at all.
        prompts: ``(B, p, C)``, what became of a tuning method's prompts, behind the last block.
    """

    x: Tensor
    hw: tuple[int, int]
    num_prefix: int = 0
    images: Tensor | None = None
    attention_mask: Tensor | None = None
    prompts: Tensor | None = None

    def __post_init__(self) -> None:
        height, width = self.hw
        if self.x.shape[1] != self.num_prefix + height * width:
            raise ValueError(
                f'x has {self.x.shape[1]} tokens, but num_prefix={self.num_prefix} and a map of '
                f'{height} x {width} make {self.num_prefix + height * width}'
            )
        if self.attention_mask is not None and self.attention_mask.shape[-1] != self.x.shape[1]:
            raise ValueError(
                f'attention_mask is for {self.attention_mask.shape[-1]} tokens, but there are '
                f'{self.x.shape[1]}: a tuning method that adds prompts cannot run in such a block'
            )

    @property
    def prefix(self) -> Tensor:
        """``(B, num_prefix, C)``."""
        return self.x[:, : self.num_prefix]

    @property
    def grid(self) -> Tensor:
        """``(B, H * W, C)``: the tokens of the map."""
        return self.x[:, self.num_prefix :]

    def with_x(self, x: Tensor) -> Tokens:
        """The same layout with other values ``(B, num_prefix + H * W, C)``."""
        return replace(self, x=x)

    def with_grid(self, grid: Tensor) -> Tokens:
        """The same prefix before another map ``(B, H * W, C)``."""
        return self.with_x(torch.cat([self.prefix, grid], dim=1) if self.num_prefix else grid)

    def as_map(self) -> Tensor:
        """``(B, C, H, W)``, channels last."""
        return map_of(self.grid.unflatten(1, self.hw))

    def with_map(self, feature_map: Tensor) -> Tokens:
        """The same prefix before another map ``(B, C, H, W)``."""
        return self.with_grid(feature_map.movedim(1, -1).flatten(1, 2))
