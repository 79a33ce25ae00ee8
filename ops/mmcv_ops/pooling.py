"""RoIAlign from torchvision, and what torchvision computes otherwise: RoIAlign's maximum, RoIPool.

Regions are ``(R, 5)``: number of the image, then (x1, y1, x2, y2) in pixels of the image.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torchvision
from torch import Tensor

from mmcv_ops.precision import wide, wide_as

_MAXIMUM = 0  # mmcv's number for pool_mode='max'; 1 is the average


def _check(regions: Tensor, images: int) -> None:
    """Refuses regions for which torchvision's CPU kernels leave their memory.

    Raises:
        ValueError: a region that is not finite, or of an image that there is not.
    """
    if regions.device.type != 'cpu':  # a GPU would have to be waited for
        return
    if not regions.isfinite().all():
        wrong = int((~regions.isfinite()).any(dim=1).sum())
        raise ValueError(
            f'{wrong} of {len(regions)} regions have values that are infinite or not a number. '
            'Mend: look for where the boxes come from; a training that diverges makes such ones'
        )
    number = regions[:, 0]
    if ((number < 0) | (number >= images)).any():
        raise ValueError(
            f'regions are of the images {int(number.min())} to {int(number.max())}, and there are '
            f'{images}. Mend: column 0 of the regions, which counts the images of the batch from 0'
        )


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Mask R-CNN's RoIAlign (He et al., https://arxiv.org/abs/1703.06870).

    Args:
        input: maps ``(B, C, H, W)``.
        rois: ``(R, 5)``.
        output: ``(R, C, aligned_height, aligned_width)``, written.
        argmax_y: as ``output``: row of the sample that is the maximum; for ``pool_mode`` 0 alone.
        argmax_x: its column.
        aligned_height: rows of bins.
        aligned_width: columns of bins.
        spatial_scale: pixels of the map for one of the image.
        sampling_ratio: samples a bin and axis; 0: one a pixel.
        pool_mode: 0 maximum of a bin's samples, 1 their mean.
        aligned: pixels have their centres at 0.5.
    """
    maps, regions = wide(input), wide_as(rois, input)
    _check(regions, len(maps))
    bins = (aligned_height, aligned_width)
    if pool_mode != _MAXIMUM:
        output.copy_(
            torchvision.ops.roi_align(maps, regions, bins, spatial_scale, sampling_ratio, aligned)
        )
        return
    for chosen, grid in _by_grid(regions, bins, spatial_scale, sampling_ratio, aligned):
        size = (bins[0] * grid[0], bins[1] * grid[1])
        samples = torchvision.ops.roi_align(maps, regions[chosen], size, spatial_scale, 1, aligned)
        highest, index = _as_bins(samples, bins, grid).max(dim=-1)
        output[chosen] = highest.to(output.dtype)
        argmax_y[chosen] = index.div(grid[1], rounding_mode='floor').to(argmax_y.dtype)
        argmax_x[chosen] = (index % grid[1]).to(argmax_x.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Adds the maps' gradient to ``grad_input (B, C, H, W)``; arguments as in the forward."""
    grad, regions = wide(grad_output), wide_as(rois, grad_output)
    bins, shape = (aligned_height, aligned_width), grad_input.shape
    _check(regions, shape[0])

    def of_maps(grad: Tensor, regions: Tensor, bins: tuple[int, int], ratio: int) -> Tensor:
        return torch.ops.torchvision._roi_align_backward(
            grad.contiguous(), regions, spatial_scale, *bins, *shape, ratio, aligned
        ).to(grad_input.dtype)

    if pool_mode != _MAXIMUM:
        grad_input += of_maps(grad, regions, bins, sampling_ratio)
        return
    for chosen, grid in _by_grid(regions, bins, spatial_scale, sampling_ratio, aligned):
        size = (bins[0] * grid[0], bins[1] * grid[1])
        samples = grad.new_zeros(len(chosen), shape[1], *size)
        index = (argmax_y[chosen] * grid[1] + argmax_x[chosen]).long()[..., None]
        by_bin = _as_bins(samples, bins, grid)
        by_bin = by_bin.scatter(-1, index, grad[chosen][..., None])
        by_bin = by_bin.unflatten(-1, grid).transpose(
            3, 4
        )  # (R, C, bins_h, grid_h, bins_w, grid_w)
        grad_input += of_maps(by_bin.reshape(samples.shape), regions[chosen], size, 1)


def _as_bins(samples: Tensor, bins: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """``(R, C, bins_h * grid_h, bins_w * grid_w)`` -> ``(R, C, bins_h, bins_w, samples a bin)``."""
    by_axis = samples.unflatten(3, (bins[1], grid[1])).unflatten(2, (bins[0], grid[0]))
    return by_axis.transpose(3, 4).flatten(-2)


def _by_grid(
    regions: Tensor,
    bins: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Groups of regions with the samples (rows, columns) that a bin of theirs has."""
    if sampling_ratio > 0:
        yield torch.arange(len(regions), device=regions.device), (sampling_ratio, sampling_ratio)
        return
    sizes = (regions[:, 3:] - regions[:, 1:3]) * spatial_scale  # (R, 2): width, height
    if not aligned:
        sizes = sizes.clamp(min=1)
    grids = (sizes.flip(1) / sizes.new_tensor(bins)).ceil().long()
    for grid in grids.unique(dim=0).tolist():
        if min(grid) > 0:  # a region without an area has no samples, and 0 for its maximum
            chosen = (grids == grids.new_tensor(grid)).all(dim=1).nonzero()[:, 0]
            yield chosen, (grid[0], grid[1])


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fast R-CNN's RoIPool, as mmcv has it: edges are not rounded (torchvision rounds them).

    Args:
        input: maps ``(B, C, H, W)``.
        rois: ``(R, 5)``; their last pixel belongs to them.
        output: ``(R, C, pooled_height, pooled_width)``, written.
        argmax: as ``output``: place of the maximum in its map, -1 for an empty bin; written.
        pooled_height: rows of bins.
        pooled_width: columns of bins.
        spatial_scale: pixels of the map for one of the image.
    """
    output.zero_()
    argmax.fill_(-1)
    if rois.numel() == 0:
        return
    height, width = input.shape[2:]
    regions = wide_as(rois, input)
    _check(regions, len(input))
    low = regions[:, 1:3] * spatial_scale
    high = (regions[:, 3:] + 1) * spatial_scale
    columns = _edges(low[:, 0], high[:, 0], pooled_width, width)
    rows = _edges(low[:, 1], high[:, 1], pooled_height, height)
    real = (high > low).all(dim=1).tolist()
    for index, image in enumerate(regions[:, 0].long().tolist()):
        if not real[index]:
            continue
        for row, (top, bottom) in enumerate(rows[index]):
            if bottom <= top:
                continue
            of_columns, tallest = input[image, :, top:bottom].max(dim=1)  # (C, W)
            for column, (left, right) in enumerate(columns[index]):
                if right <= left:
                    continue
                highest, widest = of_columns[:, left:right].max(dim=1)
                widest = widest + left
                place = (tallest.gather(1, widest[:, None])[:, 0] + top) * width + widest
                output[index, :, row, column] = highest
                argmax[index, :, row, column] = place.to(argmax.dtype)


def _edges(low: Tensor, high: Tensor, bins: int, size: int) -> list[list[tuple[int, int]]]:
    """First and one past the last pixel of every bin along one axis, for every region."""
    numbers = torch.arange(bins, device=low.device)
    step = ((high - low) / bins)[:, None]
    first = (numbers * step + low[:, None]).floor().long().clamp(0, size)
    past = ((numbers + 1) * step + low[:, None]).ceil().long().clamp(0, size)
    return [
        list(zip(*pair, strict=True)) for pair in zip(first.tolist(), past.tolist(), strict=True)
    ]


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Adds the maps' gradient to ``grad_input (B, C, H, W)``; arguments as in the forward."""
    if rois.numel() == 0:
        return
    batch, channels, height, width = grad_input.shape
    maps = wide(grad_output).new_zeros(batch, channels, height * width)
    planes = (rois[:, :1].long() * channels + torch.arange(channels, device=rois.device))[..., None]
    index = planes * (height * width) + argmax.flatten(2).long()  # (R, C, bins)
    chosen = argmax.flatten(2) >= 0
    maps.view(-1).index_add_(0, index[chosen], wide(grad_output).flatten(2)[chosen])
    grad_input += maps.view_as(grad_input).to(grad_input.dtype)
