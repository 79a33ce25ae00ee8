"""Sizes and positions of the levels: where a query of one grid stands on another.

Levels are maps whose cell (i, j) is centred at pixel ``((i + 0.5) * stride, (j + 0.5) * stride)``
of the image. Sizes are rounded up, so that images of any size work; a map then reaches beyond the
image, and two maps of different strides may reach differently far. Positions are therefore taken in
pixels, never by assuming that 1/8, 1/16 and 1/32 divide the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Level:
    """A grid of ``height x width`` cells, ``stride`` pixels apart."""

    height: int
    width: int
    stride: int

    @classmethod
    def of_image(cls, height: int, width: int, stride: int) -> Level:
        """The level that covers an image of ``height x width`` pixels."""
        return cls((height + stride - 1) // stride, (width + stride - 1) // stride, stride)

    @property
    def hw(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.height * self.width

    @property
    def extent(self) -> tuple[int, int]:
        """Pixels covered, ``(height, width)``."""
        return self.height * self.stride, self.width * self.stride


def _position_dtype(beside: Tensor) -> torch.dtype:
    """Of positions beside a tensor: float64 with float64, else float32."""
    return torch.promote_types(beside.dtype, torch.float32)


def reference_points(
    queries: Sequence[Level],
    values: Sequence[Level],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The centres of the queries' cells, normalised to each value level.

    Args:
        queries: levels whose cells are the queries, one level after the other.
        values: levels that the queries look at.
        device: of the result.
        dtype: of the result; float64 beside float64 values.

    Returns:
        ``(1, Lq, 1|L, 2)``, (x, y); one entry serves all levels if they cover the same
        pixels.
    """
    centres = []
    for level in queries:
        y = (torch.arange(level.height, dtype=dtype, device=device) + 0.5) * level.stride
        x = (torch.arange(level.width, dtype=dtype, device=device) + 0.5) * level.stride
        y, x = torch.meshgrid(y, x, indexing='ij')
        centres.append(torch.stack([x.flatten(), y.flatten()], dim=-1))
    pixels = torch.cat(centres)[None, :, None]  # (1, Lq, 1, 2)
    extents = [level.extent for level in values]
    if all(extent == extents[0] for extent in extents):
        extents = extents[:1]
    # filled on the device, and sizes that are not known yet stay unknown while a program is traced
    sizes = [pixels.new_full((1,), size) for height, width in extents for size in (width, height)]
    return pixels / torch.cat(sizes).view(-1, 2)


@dataclass(frozen=True)
class Sight:
    """Who looks where in an attention.

    Attributes:
        queries: levels whose cells look.
        values: levels that they look at.
        points: ``(1, Lq, 1|L, 2)``, the places of the first on the second.
    """

    queries: tuple[Level, ...]
    values: tuple[Level, ...]
    points: Tensor


@dataclass(frozen=True)
class Geometry:
    """Where the tokens of a ViT and the cells of a pyramid stand; computed once an image size.

    Attributes:
        token_level: the ViT's map.
        levels: the pyramid's maps, the largest first.
        token_points: ``(1, N, 1|L, 2)``, the tokens' positions on the pyramid.
        pyramid_points: ``(1, S, 1, 2)``, the pyramid's positions on the ViT's map.
    """

    token_level: Level
    levels: tuple[Level, ...]
    token_points: Tensor
    pyramid_points: Tensor

    @classmethod
    def of(cls, token_level: Level, levels: Sequence[Level], images: Tensor) -> Geometry:
        """The geometry of a ViT's map and a pyramid, with its points beside ``images``."""
        kind = _position_dtype(images)
        return cls(
            token_level,
            tuple(levels),
            token_points=reference_points([token_level], levels, images.device, kind),
            pyramid_points=reference_points(levels, [token_level], images.device, kind),
        )

    @property
    def from_tokens(self) -> Sight:
        """The tokens look at the pyramid."""
        return Sight((self.token_level,), self.levels, self.token_points)

    @property
    def from_pyramid(self) -> Sight:
        """The pyramid looks at the tokens."""
        return Sight(self.levels, (self.token_level,), self.pyramid_points)


def resample(feature_map: Tensor, source: Level, target: Level) -> Tensor:
    """Bilinear resampling of a map from one level's cells to another's.

    Args:
        feature_map: ``(B, C, H, W)`` at ``source``.
        source: where it is.
        target: where it shall be.

    Returns:
        ``(B, C, H', W')`` at ``target``.
    """
    if source == target:
        return feature_map
    if source.extent == target.extent:
        return F.interpolate(feature_map, size=target.hw, mode='bilinear', align_corners=False)
    # 16 bits cannot hold positions, and the sampling wants map and positions of one type
    kind = _position_dtype(feature_map)
    centres = reference_points([target], [source], feature_map.device, kind)
    grid = centres.view(1, target.height, target.width, 2) * 2 - 1
    grid = grid.expand(feature_map.shape[0], -1, -1, -1)
    sampled = F.grid_sample(feature_map.to(kind), grid, padding_mode='border', align_corners=False)
    return sampled.to(feature_map.dtype)


def flatten_maps(maps: Sequence[Tensor]) -> Tensor:
    """Maps ``(B, C, H, W)`` -> one sequence ``(B, sum(H * W), C)``."""
    return torch.cat([feature_map.movedim(1, -1).flatten(1, 2) for feature_map in maps], dim=1)


def split_maps(tokens: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """Undoes :func:`flatten_maps`: ``(B, sum(H * W), C)`` -> maps ``(B, C, H, W)``.

    They are channels-last and no views of the sequence: batch norm must not see its strides, see
    :mod:`vitadapter_dense.encoders.maps`.
    """
    parts = tokens.split([level.size for level in levels], dim=1)
    return [
        part.unflatten(1, level.hw).contiguous().movedim(-1, 1)
        for part, level in zip(parts, levels, strict=True)
    ]
