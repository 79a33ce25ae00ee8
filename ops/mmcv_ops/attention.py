"""Multi-scale deformable attention of mmcv on ``msda``'s kernels.

That is the attention in the pixel decoder of Mask2Former and in Deformable DETR and DINO. mmcv's
module stays, with its weights and its arithmetic up to the sampling; the two functions that it
calls for the sampling are replaced, which it looks up in its module by name.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from mmcv_ops.finder import FOLLOWS
from msda import ms_deform_attn
from msda.checks import flat_shapes

_CPU, _CUDA = 'multi_scale_deformable_attn_pytorch', 'MultiScaleDeformableAttnFunction'
_log = logging.getLogger(__name__)


def attend(
    value: Tensor,
    value_spatial_shapes: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """:func:`msda.ms_deform_attn` with mmcv's arguments.

    Args:
        value: ``(B, S, M, D)``.
        value_spatial_shapes: L pairs (H, W).
        sampling_locations: ``(B, Lq, M, L, P, 2)``.
        attention_weights: ``(B, Lq, M, L, P)``.

    Returns:
        ``(B, Lq, M * D)``.
    """
    return ms_deform_attn(
        value,
        [(height, width) for height, width in value_spatial_shapes.tolist()],
        _locations_beside(value, sampling_locations),
        attention_weights.to(value.dtype),
    )


class AttendFunction:
    """Stands in for mmcv's autograd function."""

    @staticmethod
    def apply(
        value: Tensor,
        value_spatial_shapes: Tensor,
        value_level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        im2col_step: int | None = None,
    ) -> Tensor:
        """As :func:`attend`; the step is not needed.

        Raises:
            ValueError: levels that do not follow each other.
        """
        shapes = _shapes(value_spatial_shapes, value_level_start_index)
        locations = _locations_beside(value, sampling_locations)
        return ms_deform_attn(value, shapes, locations, attention_weights.to(value.dtype))


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """The operator of ``mmcv._ext``; see :meth:`AttendFunction.apply`."""
    return AttendFunction.apply(
        value, value_spatial_shapes, value_level_start_index, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Writes the three gradients."""
    gradients = torch.ops.msda.ms_deform_attn_backward(
        grad_output,
        value,
        flat_shapes(_shapes(value_spatial_shapes, value_level_start_index)),
        _locations_beside(value, sampling_locations),
        attention_weights.to(value.dtype),
    )
    targets = (grad_value, grad_sampling_loc, grad_attn_weight)
    for target, gradient in zip(targets, gradients, strict=True):
        target.copy_(gradient)


def replace_sampling(module: ModuleType) -> None:
    """Makes ``mmcv.ops.multi_scale_deform_attn`` compute with ``msda``.

    What is replaced stays reachable, as ``attend.replaced`` and ``AttendFunction.replaced``. Where
    mmcv's functions take other arguments than these, they stay: slow on the CPU, and on a GPU an
    operator that tells both versions.
    """
    function, autograd = (getattr(module, name, None) for name in (_CPU, _CUDA))
    theirs = _arguments(function), _arguments(getattr(autograd, 'forward', None))
    if theirs != (_arguments(attend), ['ctx', *_arguments(AttendFunction.apply)]):
        _log.warning(
            '%s is not that of mmcv %s: mmcv keeps its own deformable attention, which is slow on '
            'the CPU',
            module.__name__,
            FOLLOWS,
        )
        return
    attend.replaced, AttendFunction.replaced = function, autograd
    setattr(module, _CPU, attend)
    setattr(module, _CUDA, AttendFunction)


def _arguments(function: Callable[..., Tensor] | None) -> list[str]:
    return [] if function is None else list(inspect.signature(function).parameters)


def _shapes(spatial_shapes: Tensor, starts: Tensor) -> list[tuple[int, int]]:
    flat = torch.cat([spatial_shapes.flatten(), starts.flatten()]).tolist()  # one synchronisation
    levels = len(flat) // 3
    shapes = [(flat[2 * level], flat[2 * level + 1]) for level in range(levels)]
    first = 0
    for (height, width), start in zip(shapes, flat[2 * levels :], strict=True):
        if start != first:
            raise ValueError(
                f'level_start_index {flat[2 * levels :]} does not fit levels {shapes} that follow '
                f'each other'
            )
        first += height * width
    return shapes


def _locations_beside(value: Tensor, locations: Tensor) -> Tensor:
    return locations.to(torch.float64 if value.dtype == torch.float64 else torch.float32)
