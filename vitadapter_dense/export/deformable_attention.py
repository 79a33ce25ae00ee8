"""Deformable attention in operators that every runtime has: `GridSample`, or gathers alone.

TensorRT has computed `GridSample` wrongly without saying so, hence the second form, which has the
same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from msda.reference import sampling_locations

_FAR_OUTSIDE = 10.0  # map sizes; beyond it a sample is zero, and its place must fit an integer

Sampler: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class TakenApart(TorchFunctionMode):
    """While it is active, `msda`'s operators are computed by others.

    Args:
        gather: sample by gathers in place of `grid_sample`, wherever it is called.
    """

    def __init__(self, *, gather: bool) -> None:
        super().__init__()
        self.sample: Sampler = sample_by_gathers if gather else sample_by_grid

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Computes what it knows, and hands on the rest."""
        if function is torch.ops.msda.ms_deform_attn:
            return _attend(*args, self.sample)
        if function is torch.ops.msda.ms_deform_attn_fused:
            value, spatial_shapes, reference_points, offsets, logits = args
            locations = sampling_locations(spatial_shapes, reference_points, offsets)
            weights = logits.softmax(-1).view(offsets.shape[:-1])
            return _attend(value, spatial_shapes, locations, weights, self.sample)
        if function is F.grid_sample and self.sample is sample_by_gathers:
            return _resample(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _resample(
    image: Tensor,
    grid: Tensor,
    mode: str = 'bilinear',
    padding_mode: str = 'zeros',
    align_corners: bool | None = None,
) -> Tensor:
    """`grid_sample` by gathers, as far as models need it."""
    if mode != 'bilinear' or padding_mode == 'reflection' or align_corners:
        raise NotImplementedError(f'grid_sample, {mode}, {padding_mode}: no form by gathers')
    places = (grid + 1) / 2
    if padding_mode == 'border':  # nothing beyond the centres of the outermost pixels
        edges = [places.new_full((1,), 0.5) / side for side in (image.shape[3], image.shape[2])]
        edge = torch.cat(edges)
        places = places.maximum(edge).minimum(1 - edge)
    return sample_by_gathers(image, places)


def _attend(
    value: Tensor,
    spatial_shapes: Sequence[int],
    locations: Tensor,
    weights: Tensor,
    sample: Sampler,
) -> Tensor:
    """`msda.ms_deform_attn`, its arguments, without changing a tensor in place."""
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    locations = locations.clamp(-_FAR_OUTSIDE, _FAR_OUTSIDE)
    output = None
    for level, start, height, width in _levels(spatial_shapes):
        image = value[:, start : start + height * width].permute(0, 2, 3, 1)
        image = image.reshape(batch * heads, channels, height, width)  # (B*M, D, H, W)
        places = locations[:, :, :, level].transpose(1, 2)
        places = places.reshape(batch * heads, queries, points, 2)  # (B*M, Lq, P, 2)
        of_level = weights[:, :, :, level].transpose(1, 2)
        of_level = of_level.reshape(batch * heads, 1, queries, points)
        found = (sample(image, places) * of_level).sum(-1)
        output = found if output is None else output + found
    output = output.view(batch, heads * channels, queries)
    return output.transpose(1, 2).contiguous()  # (B, Lq, M*D)


def _levels(spatial_shapes: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yields `(level, first row, height, width)`."""
    start = 0
    for level in range(len(spatial_shapes) // 2):
        height, width = spatial_shapes[2 * level], spatial_shapes[2 * level + 1]
        yield level, start, height, width
        start += height * width


def sample_by_grid(image: Tensor, places: Tensor) -> Tensor:
    """Bilinear samples, zero outside.

    Args:
        image: `(N, D, H, W)`.
        places: `(N, Q, P, 2)`, (x, y), 0 and 1 at the borders of the image.

    Returns:
        `(N, D, Q, P)`.
    """
    return F.grid_sample(image, places * 2 - 1, align_corners=False)


def sample_by_gathers(image: Tensor, places: Tensor) -> Tensor:
    """The same as :func:`sample_by_grid`: four gathers, and arithmetic that is written out."""
    batch, channels, height, width = image.shape
    queries, points = places.shape[1:3]
    pixels = image.flatten(2)  # (N, D, H*W)
    x, y = places[..., 0] * width - 0.5, places[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    output = None
    for row, share_of_row in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, share in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
            share = share * share_of_row * inside.to(share.dtype)
            index = torch.where(inside, row * width + column, 0)
            index = index.to(torch.int64).reshape(batch, 1, queries * points)
            corner = pixels.gather(2, index.expand(-1, channels, -1))
            corner = corner.view(batch, channels, queries, points) * share[:, None]
            output = corner if output is None else output + corner
    return output
