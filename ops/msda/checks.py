"""What the operators are given: checked before any kernel runs, told in the users' terms."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LevelShapes = Sequence[tuple[int, int]]
_MOST = 2**31
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def _size(level: int, size: Any) -> int | torch.SymInt:
    if not isinstance(size, (int, torch.SymInt)):
        try:
            size = operator.index(size)  # integers of other libraries
        except TypeError:
            raise TypeError(
                f'spatial_shapes[{level}] holds {size!r}; expected host integers'
            ) from None
    return size


def flat_shapes(spatial_shapes: LevelShapes) -> list[int]:
    """Pairs ``(H, W)``, checked, as the operators want them: ``[H0, W0, H1, W1, ...]``."""
    if isinstance(spatial_shapes, Tensor):
        raise TypeError(
            'spatial_shapes must be pairs of host integers, e.g. [(64, 64), (32, 32)]; got a '
            'tensor. Pass spatial_shapes.tolist() (on a GPU that waits for the device).'
        )
    flat: list[int] = []
    try:
        for level, shape in enumerate(spatial_shapes):
            height, width = shape
            flat += [_size(level, height), _size(level, width)]
    except (TypeError, ValueError) as error:
        if 'spatial_shapes' in str(error):
            raise
        raise ValueError(
            f'spatial_shapes must be pairs (H, W), e.g. [(64, 64), (32, 32)]; got '
            f'{spatial_shapes!r}'
        ) from error
    return flat


def _check_tensors(**tensors: Any) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f'{name} must be a torch.Tensor; got {type(tensor).__name__}')


def _expect(name: str, tensor: Tensor, expected: tuple[Any, ...], meaning: str) -> None:
    """Raises unless ``tensor`` has the expected shape; ``None`` in ``expected`` fits any size."""
    shape = tensor.shape
    fits = len(shape) == len(expected) and all(
        want is None or size in (want if isinstance(want, tuple) else (want,))
        for size, want in zip(shape, expected, strict=False)
    )
    if not fits:
        sizes = ['any' if want is None else str(want) for want in expected]
        raise ValueError(
            f'{name} has shape {tuple(shape)}; expected ({", ".join(sizes)}), that is {meaning}'
        )


def _check_levels(value: Tensor, flat_shapes: Sequence[int]) -> None:
    if len(flat_shapes) % 2:
        raise ValueError(
            f'spatial_shapes has {len(flat_shapes)} numbers; expected H0, W0, H1, W1, ...'
        )
    for i, size in enumerate(flat_shapes):
        if isinstance(size, int) and not 0 <= size < _MOST:
            raise ValueError(f'spatial_shapes[{i // 2}] holds {size}; expected 0 <= size < 2^31')
    if value.dim() != 4:
        raise ValueError(f'value has shape {tuple(value.shape)}; expected four axes (B, S, M, D)')
    total = sum(h * w for h, w in zip(flat_shapes[::2], flat_shapes[1::2], strict=True))
    if total != value.shape[1]:
        pairs = list(zip(flat_shapes[::2], flat_shapes[1::2], strict=True))
        raise ValueError(
            f'spatial_shapes {pairs} add up to {total} pixels, but value has {value.shape[1]} rows '
            f'(value.shape[1] must be the sum of H * W over the levels)'
        )


def _check_kind(value: Tensor, others: dict[str, Tensor], coordinates: dict[str, Tensor]) -> None:
    """Checks layouts, devices and dtypes. Under autocast the operator brings the dtypes together
    itself, but for float64, which autocast leaves alone."""
    for name, tensor in {'value': value, **others, **coordinates}.items():
        if tensor.layout != torch.strided:
            raise TypeError(f'{name} has layout {tensor.layout}; pass {name}.to_dense()')
        if tensor.dtype not in _DTYPES:
            raise TypeError(
                f'{name} has dtype {tensor.dtype}; expected float32, float64, bfloat16 or float16'
            )
        if tensor.device != value.device:
            raise ValueError(
                f'{name} is on {tensor.device}, but value is on {value.device}; move them together'
            )
    kind = value.device.type
    # torch.compile cannot trace torch.amp.is_autocast_available
    autocast = kind != 'meta' and torch.is_autocast_enabled(kind)

    def fits(tensor: Tensor, dtype: torch.dtype) -> bool:
        if autocast:
            return (tensor.dtype == torch.float64) == (value.dtype == torch.float64)
        return tensor.dtype == dtype

    for name, tensor in others.items():
        if not fits(tensor, value.dtype):
            raise TypeError(
                f'{name} has dtype {tensor.dtype}, but value has {value.dtype}; they must agree'
            )
    wide = torch.float64 if value.dtype == torch.float64 else torch.float32
    for name, tensor in coordinates.items():
        if not fits(tensor, wide):
            raise TypeError(
                f'{name} has dtype {tensor.dtype}; expected {wide} beside {value.dtype} values '
                f'(coordinates need the precision): pass {name}.to({wide})'
            )


def check_attention(
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> None:
    """Checks the arguments of :func:`msda.ms_deform_attn`, the level shapes as ``[H0, W0, ...]``.

    Raises:
        ValueError: a shape or a device does not fit; the message names the argument.
        TypeError: a dtype does not fit, or something is no tensor.
    """
    _check_tensors(
        value=value, sampling_locations=sampling_locations, attention_weights=attention_weights
    )
    _check_levels(value, spatial_shapes)
    batch, _, heads, _ = value.shape
    levels = len(spatial_shapes) // 2
    _expect(
        'sampling_locations',
        sampling_locations,
        (batch, None, heads, levels, None, 2),
        '(B, Lq, M, L, P, 2)',
    )
    queries, points = sampling_locations.shape[1], sampling_locations.shape[4]
    _expect(
        'attention_weights',
        attention_weights,
        (batch, queries, heads, levels, points),
        '(B, Lq, M, L, P)',
    )
    _check_kind(
        value,
        {'attention_weights': attention_weights},
        {'sampling_locations': sampling_locations},
    )


def check_fused_attention(
    value: Tensor,
    spatial_shapes: Sequence[int],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
) -> None:
    """Checks the arguments of :func:`msda.ms_deform_attn_fused`, as :func:`check_attention`."""
    _check_tensors(
        value=value,
        reference_points=reference_points,
        sampling_offsets=sampling_offsets,
        attention_logits=attention_logits,
    )
    _check_levels(value, spatial_shapes)
    batch, _, heads, _ = value.shape
    levels = len(spatial_shapes) // 2
    _expect(
        'sampling_offsets',
        sampling_offsets,
        (batch, None, heads, levels, None, 2),
        '(B, Lq, M, L, P, 2)',
    )
    queries, points = sampling_offsets.shape[1], sampling_offsets.shape[4]
    _expect(
        'reference_points',
        reference_points,
        ((1, batch), queries, (1, levels), (2, 4)),
        '(1|B, Lq, 1|L, 2|4)',
    )
    _expect(
        'attention_logits',
        attention_logits,
        (batch, queries, heads, levels * points),
        '(B, Lq, M, L * P)',
    )
    _check_kind(
        value,
        {'sampling_offsets': sampling_offsets, 'attention_logits': attention_logits},
        {'reference_points': reference_points},
    )


def check_gradient(grad_output: Tensor, value: Tensor, coordinates: Tensor) -> None:
    """Checks the gradient of the output against checked arguments: ``(B, Lq, M * D)``."""
    _check_tensors(grad_output=grad_output)
    batch, _, heads, channels = value.shape
    shape = (batch, coordinates.shape[1], heads * channels)
    _expect('grad_output', grad_output, shape, '(B, Lq, M * D)')
    _check_kind(value, {'grad_output': grad_output}, {})
