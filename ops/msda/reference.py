"""Multi-scale deformable attention in plain PyTorch: the numbers every kernel must reproduce.

Deformable DETR (https://arxiv.org/abs/2010.04159), section 4.1. A query's output is a weighted sum
of bilinear samples of the value maps, with zeros outside of a map and pixel centres at half
integers (``align_corners=False``). Sampling is :func:`torch.nn.functional.grid_sample`; gradients
come from PyTorch's own backward of it, so this file runs on every device that PyTorch supports.

Sums are carried in float32 (float64 for float64 inputs) whatever the dtype of the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Locations this many map sizes away are outside of every map, and small enough for integer
# arithmetic.
_FAR_OUTSIDE = 10.0


def _levels(spatial_shapes: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yields ``(level, first row, height, width)`` for the levels that have pixels."""
    start = 0
    for level in range(len(spatial_shapes) // 2):
        height, width = spatial_shapes[2 * level], spatial_shapes[2 * level + 1]
        if height * width > 0:
            yield level, start, height, width
        start += height * width


def _accumulation_dtype(value: Tensor) -> torch.dtype:
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def _finite(locations: Tensor) -> Tensor:
    """Moves NaN, Inf and very distant locations to a point outside of every map."""
    far = _FAR_OUTSIDE
    return torch.nan_to_num(locations, nan=-far, posinf=far, neginf=-far).clamp(-far, far)


def _level_inputs(
    value: Tensor, locations: Tensor, level: int, start: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """One level as ``grid_sample`` wants it: an image batch and its sampling grid."""
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    image = value[:, start : start + height * width].permute(0, 2, 3, 1)
    image = image.reshape(batch * heads, channels, height, width)  # (B*M, D, H, W)
    grid = locations[:, :, :, level].transpose(1, 2) * 2 - 1
    return image, grid.reshape(batch * heads, queries, points, 2)  # (B*M, Lq, P, 2)


def attend(
    value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> Tensor:
    """Forward pass.

    Args:
        value: ``(B, S, M, D)``.
        spatial_shapes: ``[H0, W0, H1, W1, ...]`` with ``sum(H * W) == S``.
        locations: ``(B, Lq, M, L, P, 2)``, (x, y) with 0 and 1 at the borders of the map.
        weights: ``(B, Lq, M, L, P)``.

    Returns:
        ``(B, Lq, M * D)`` in the dtype of ``value``.
    """
    dtype = _accumulation_dtype(value)
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    locations, weights = _finite(locations.to(dtype)), weights.to(dtype)
    output = torch.zeros(batch * heads, channels, queries, dtype=dtype, device=value.device)
    if output.numel() == 0 or points == 0:
        return value.new_zeros(batch, queries, heads * channels)
    for level, start, height, width in _levels(spatial_shapes):
        image, grid = _level_inputs(value.to(dtype), locations, level, start, height, width)
        sampled = F.grid_sample(image, grid, align_corners=False)  # (B*M, D, Lq, P)
        level_weights = weights[:, :, :, level].transpose(1, 2)
        level_weights = level_weights.reshape(batch * heads, 1, queries, points)
        output += (sampled * level_weights).sum(-1)
    output = output.view(batch, heads * channels, queries).transpose(1, 2)  # (B, Lq, M*D)
    return output.to(value.dtype).contiguous()


def attend_backward(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    locations: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`attend` for ``value``, ``locations`` and ``weights``.

    Args:
        grad_output: ``(B, Lq, M * D)``; the rest as in :func:`attend`.

    Returns:
        Three tensors with the shapes and dtypes of ``value``, ``locations`` and ``weights``.
    """
    dtype = _accumulation_dtype(value)
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    grad_value = torch.zeros_like(value, dtype=dtype, memory_format=torch.contiguous_format)
    grad_locations = torch.zeros_like(locations, dtype=dtype, memory_format=torch.contiguous_format)
    grad_weights = torch.zeros_like(weights, dtype=dtype, memory_format=torch.contiguous_format)
    if batch * queries * heads * channels * points == 0:
        return grad_value.to(value), grad_locations.to(locations), grad_weights.to(weights)

    finite, wide_weights = _finite(locations.to(dtype)), weights.to(dtype)
    grad = grad_output.to(dtype).view(batch, queries, heads, channels).permute(0, 2, 3, 1)
    grad = grad.reshape(batch * heads, channels, queries, 1)  # (B*M, D, Lq, 1)
    for level, start, height, width in _levels(spatial_shapes):
        image, grid = _level_inputs(value.to(dtype), finite, level, start, height, width)
        sampled = F.grid_sample(image, grid, align_corners=False)  # (B*M, D, Lq, P)
        level_grad = (sampled * grad).sum(1)
        level_grad = level_grad.view(batch, heads, queries, points)
        grad_weights[:, :, :, level] = level_grad.transpose(1, 2)

        level_weights = wide_weights[:, :, :, level].transpose(1, 2)
        level_weights = level_weights.reshape(batch * heads, 1, queries, points)
        bilinear, zeros = 0, 0
        grad_image, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            grad * level_weights, image, grid, bilinear, zeros, False, [True, True]
        )
        grad_image = grad_image.view(batch, heads, channels, height * width)
        grad_value[:, start : start + height * width] = grad_image.permute(0, 3, 1, 2)
        grad_grid = grad_grid.view(batch, heads, queries, points, 2) * 2
        grad_locations[:, :, :, level] = grad_grid.transpose(1, 2)
    return grad_value.to(value), grad_locations.to(locations), grad_weights.to(weights)


def _size_of_offsets(
    spatial_shapes: Sequence[int], reference_points: Tensor, num_points: int
) -> Tensor:
    """What one unit of offset is in location units: ``(1|B, 1|Lq, 1, L, 1, 2)``.

    A pixel of the level for points; ``w / (2 P)`` and ``h / (2 P)`` for reference boxes (cx, cy, w,
    h).
    """
    if reference_points.shape[-1] == 4:
        return reference_points[:, :, None, :, None, 2:] * 0.5 / num_points
    # filled on the device: a copy from the host would wait for it
    sizes = [reference_points.new_full((1,), size) for size in spatial_shapes]
    if not sizes:
        return reference_points.new_ones(1, 1, 1, 0, 1, 2)
    sizes = torch.cat(sizes).view(-1, 2).flip(-1)  # (L, 2) as (W, H)
    return (1 / sizes.clamp(min=1))[None, None, None, :, None]


def sampling_locations(
    spatial_shapes: Sequence[int], reference_points: Tensor, offsets: Tensor
) -> Tensor:
    """Where a query samples: reference point plus offset, in float32 at least.

    Args:
        spatial_shapes: ``[H0, W0, H1, W1, ...]``.
        reference_points: ``(1|B, Lq, 1|L, 2|4)``, normalised.
        offsets: ``(B, Lq, M, L, P, 2)`` in pixels of the level (in units of the box for boxes).

    Returns:
        ``(B, Lq, M, L, P, 2)``, normalised.
    """
    points = reference_points[:, :, None, :, None, :2]
    size = _size_of_offsets(spatial_shapes, reference_points, offsets.shape[4])
    return points + offsets.to(points.dtype) * size


def attend_fused(
    value: Tensor,
    spatial_shapes: Sequence[int],
    reference_points: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """:func:`attend` from what a module computes: reference points, pixel offsets and logits.

    Args:
        value: ``(B, S, M, D)``.
        spatial_shapes: ``[H0, W0, H1, W1, ...]``.
        reference_points: ``(1|B, Lq, 1|L, 2|4)``, float32 (float64 for float64 values).
        offsets: ``(B, Lq, M, L, P, 2)`` in pixels of the level.
        logits: ``(B, Lq, M, L * P)``.
    """
    locations = sampling_locations(spatial_shapes, reference_points, offsets)
    weights = logits.to(locations.dtype).softmax(-1).view(offsets.shape[:-1])
    return attend(value, spatial_shapes, locations, weights)


def attend_fused_backward(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    reference_points: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`attend_fused` for ``value``, ``offsets`` and ``logits``."""
    locations = sampling_locations(spatial_shapes, reference_points, offsets)
    weights = logits.to(locations.dtype).softmax(-1)
    grad_value, grad_locations, grad_weights = attend_backward(
        grad_output, value, spatial_shapes, locations, weights.view(offsets.shape[:-1])
    )
    size = _size_of_offsets(spatial_shapes, reference_points, offsets.shape[4])
    grad_weights = grad_weights.view(logits.shape)
    grad_logits = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))
    return grad_value, (grad_locations * size).to(offsets), grad_logits.to(logits)
