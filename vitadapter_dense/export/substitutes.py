"""Parts of the toolboxes in forms that can be traced for sizes that are not known yet.

The numbers are the same; what differs is that sizes travel as host integers, not in tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msda import ms_deform_attn


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Lets a model's parts compute in these forms while the block runs."""
    changed = []
    try:
        for module in model.modules():
            for method, form in _forms_of(module):
                changed.append((module, method))
                setattr(module, method, partial(form, module))
        yield
    finally:
        for module, method in changed:
            delattr(module, method)  # the class's own is behind it


def _forms_of(module: nn.Module) -> list[tuple[str, Callable[..., Any]]]:
    kinds = {kind.__name__ for kind in type(module).__mro__}
    return [form for name, form in _FORMS.items() if name in kinds]


def _pool(module: nn.AdaptiveAvgPool2d, x: Tensor) -> Tensor:
    """Adaptive average pooling as two products with matrices that are made of the sizes."""
    size = module.output_size
    rows, columns = (size, size) if isinstance(size, int) else size
    of_rows = _shares(x, x.shape[-2], rows)
    of_columns = _shares(x, x.shape[-1], columns)
    return of_rows @ x @ of_columns.T


def _shares(x: Tensor, size: int, bins: int | None) -> Tensor:
    """`(bins, size)`: the share of every pixel in every bin's mean."""
    if bins is None:
        bins = size
    number = torch.arange(bins, device=x.device)[:, None]
    pixel = torch.arange(size, device=x.device)[None]
    first = number * size // bins
    past = ((number + 1) * size + bins - 1) // bins
    inside = ((pixel >= first) & (pixel < past)).to(x.dtype)
    return inside / (past - first).to(x.dtype)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    identity: Tensor | None = None,
    query_pos: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    reference_points: Tensor | None = None,
    spatial_shapes: list[tuple[int, int]] | None = None,
    **_: Any,
) -> Tensor:
    """mmcv's `MultiScaleDeformableAttention` with batch first; level shapes are pairs."""
    value = query if value is None else value
    identity = query if identity is None else identity
    query = query if query_pos is None else query + query_pos
    if not module.batch_first:
        query, value = query.transpose(0, 1), value.transpose(0, 1)
    batch, queries, _channels = query.shape
    heads, levels, points = module.num_heads, module.num_levels, module.num_points
    value = module.value_proj(value)
    if key_padding_mask is not None:
        value = value.masked_fill(key_padding_mask[..., None], 0.0)
    value = value.view(batch, value.shape[1], heads, -1)
    offsets = module.sampling_offsets(query).view(batch, queries, heads, levels, points, 2)
    weights = module.attention_weights(query).view(batch, queries, heads, levels * points)
    weights = weights.softmax(-1).view(batch, queries, heads, levels, points)
    centres = reference_points[:, :, None, :, None, :2]
    if reference_points.shape[-1] == 4:
        locations = centres + offsets / points * reference_points[:, :, None, :, None, 2:] * 0.5
    else:
        sizes = [
            reference_points.new_full((1,), side)
            for height, width in spatial_shapes
            for side in (width, height)
        ]
        locations = centres + offsets / torch.cat(sizes).view(1, 1, 1, levels, 1, 2)
    output = module.output_proj(ms_deform_attn(value, spatial_shapes, locations, weights))
    if not module.batch_first:
        output = output.transpose(0, 1)
    return module.dropout(output) + identity


def _pixel_decoder(module: nn.Module, feats: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """mmdet's `MSDeformAttnPixelDecoder`, the decoder of Mask2Former."""
    batch = feats[0].shape[0]
    inputs, positions, points, shapes = [], [], [], []
    for index in range(module.num_encoder_levels):
        feat = feats[module.num_input_levels - index - 1]
        height, width = feat.shape[-2:]
        nowhere = feat.new_zeros((batch, height, width), dtype=torch.bool)
        position = module.postional_encoding(nowhere)  # mmdet's spelling
        position = position + module.level_encoding.weight[index].view(1, -1, 1, 1)
        inputs.append(module.input_convs[index](feat).flatten(2).transpose(1, 2))
        positions.append(position.flatten(2).transpose(1, 2))
        y = (torch.arange(height, dtype=feat.dtype, device=feat.device) + 0.5) / height
        x = (torch.arange(width, dtype=feat.dtype, device=feat.device) + 0.5) / width
        y, x = torch.meshgrid(y, x, indexing='ij')
        points.append(torch.stack([x.flatten(), y.flatten()], dim=-1))
        shapes.append((height, width))
    reference_points = torch.cat(points)[None, :, None]
    memory = module.encoder(
        query=torch.cat(inputs, dim=1),
        query_pos=torch.cat(positions, dim=1),
        key_padding_mask=None,
        spatial_shapes=shapes,
        reference_points=reference_points.repeat(batch, 1, module.num_encoder_levels, 1),
        level_start_index=None,
        valid_ratios=None,
    )
    parts = memory.split([height * width for height, width in shapes], dim=1)
    outs = [
        part.transpose(1, 2).unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)
    ]
    for index in range(module.num_input_levels - module.num_encoder_levels - 1, -1, -1):
        finer = module.lateral_convs[index](feats[index])
        coarser = F.interpolate(
            outs[-1], size=finer.shape[-2:], mode='bilinear', align_corners=False
        )
        outs.append(module.output_convs[index](finer + coarser))
    return module.mask_feature(outs[-1]), outs[: module.num_outs]


def _upsample(module: nn.Module, x: Tensor) -> Tensor:
    """torch's and MMSegmentation's `Upsample`; whole factors as whole numbers."""
    size, factor = module.size, module.scale_factor
    if not size:
        factors = factor if isinstance(factor, tuple) else (factor, factor)
        size = [  # `int` of a size that is not known would make it the traced one
            side * int(each) if each == int(each) else int(side * each)
            for side, each in zip(x.shape[-2:], factors, strict=True)
        ]
    return F.interpolate(x, size=size, mode=module.mode, align_corners=module.align_corners)


def _rotary(
    module: nn.Module, shape: Sequence[int] | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """`get_embed` of timm's `RotaryEmbeddingDinoV3`, for a map of `shape` (H, W)."""
    sides = list(shape if module.grid_indexing == 'ij' else shape[::-1])
    whole = {'max': torch.sym_max, 'min': torch.sym_min}.get(module.normalize_coords)
    periods = module.periods
    coordinates = []
    for side in sides:
        places = torch.arange(side, dtype=torch.float32) + 0.5 + module.grid_offset
        of = side if whole is None else whole(*sides)
        coordinates.append(places / places.new_full((1,), of))
    grid = torch.stack(torch.meshgrid(coordinates, indexing=module.grid_indexing), dim=-1)
    sin, cos = module._get_pos_embed_from_coords(2.0 * grid.flatten(0, -2) - 1.0)
    return torch.cat([sin, cos], dim=-1).to(dtype or periods.dtype)


_FORMS: dict[str, tuple[str, Callable[..., Any]]] = {
    'AdaptiveAvgPool2d': ('forward', _pool),
    'Upsample': ('forward', _upsample),
    'RotaryEmbeddingDinoV3': ('get_embed', _rotary),
    'MultiScaleDeformableAttention': ('forward', _attention),
    'MSDeformAttnPixelDecoder': ('forward', _pixel_decoder),
}
