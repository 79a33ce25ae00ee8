"""The two functions: checked arguments in, one operator call out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from msda import library, reference  # noqa: F401  (importing `library` defines the operators)
from msda.checks import LevelShapes, check_attention, check_fused_attention, flat_shapes
from msda.kernels import kernels


def _refuse_tangents(*tensors: Tensor) -> None:
    # PyTorch drops them, silently, on their way through an operator registered in Python
    if any(unpack_dual(tensor).tangent is not None for tensor in tensors):
        raise NotImplementedError(
            'msda has no forward-mode derivatives; for these, differentiate the functions of '
            'msda.reference, or take the gradient'
        )


def _in_plain_operators() -> bool:
    """Whether a model is exported under MSDA_BACKEND=reference: its graph shall need no msda."""
    exporting = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
    return exporting and kernels.choice == 'reference'


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: LevelShapes,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Weighted sum of bilinear samples of several value maps (Deformable DETR, equation 3).

    Args:
        value: ``(B, S, M, D)``: M heads of D channels, the levels' pixels one after the other.
        spatial_shapes: L pairs ``(H, W)`` of host integers with ``sum(H * W) == S``.
        sampling_locations: ``(B, Lq, M, L, P, 2)``: (x, y), 0 and 1 at the borders of the level's
            map; float32 (float64 for float64 values). A sample outside of the map counts as zero.
        attention_weights: ``(B, Lq, M, L, P)``, in the dtype of ``value``.

    Returns:
        ``(B, Lq, M * D)``, in the dtype of ``value``.

    Raises:
        ValueError: a shape or a device does not fit; the message names the argument.
        TypeError: a dtype does not fit, or something is no tensor.
    """
    flat = flat_shapes(spatial_shapes)
    check_attention(value, flat, sampling_locations, attention_weights)
    _refuse_tangents(value, sampling_locations, attention_weights)
    attend = reference.attend if _in_plain_operators() else torch.ops.msda.ms_deform_attn
    return attend(value, flat, sampling_locations, attention_weights)


def ms_deform_attn_fused(
    value: Tensor,
    spatial_shapes: LevelShapes,
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
) -> Tensor:
    """Deformable attention with the softmax and the location arithmetic inside.

    ``location = reference + offset / (W, H)`` for reference points, and
    ``location = centre + offset / P * (w, h) / 2`` for reference boxes (cx, cy, w, h).

    Args:
        value: ``(B, S, M, D)``.
        spatial_shapes: L pairs ``(H, W)`` of host integers with ``sum(H * W) == S``.
        reference_points: ``(1|B, Lq, 1|L, 2|4)``, normalised; float32 (float64 for float64 values).
        sampling_offsets: ``(B, Lq, M, L, P, 2)`` in pixels of the level, in the dtype of ``value``.
        attention_logits: ``(B, Lq, M, L * P)``, in the dtype of ``value``.

    Returns:
        ``(B, Lq, M * D)``, in the dtype of ``value``.

    Raises:
        ValueError: a shape or a device does not fit; the message names the argument.
        TypeError: a dtype does not fit, or something is no tensor.
    """
    flat = flat_shapes(spatial_shapes)
    check_fused_attention(value, flat, reference_points, sampling_offsets, attention_logits)
    _refuse_tangents(value, reference_points, sampling_offsets, attention_logits)
    if reference_points.requires_grad and torch.is_grad_enabled():
        # The operator takes the reference points as constants; learnt ones (iterative box
        # refinement) get their gradient from PyTorch, through the operator that takes locations.
        locations = reference.sampling_locations(flat, reference_points, sampling_offsets)
        weights = attention_logits.to(locations.dtype).softmax(-1).view(sampling_offsets.shape[:-1])
        return torch.ops.msda.ms_deform_attn(value, flat, locations, weights.to(value.dtype))
    plain = _in_plain_operators()
    attend = reference.attend_fused if plain else torch.ops.msda.ms_deform_attn_fused
    return attend(value, flat, reference_points, sampling_offsets, attention_logits)
