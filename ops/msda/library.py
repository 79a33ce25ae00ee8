"""The ``msda`` operator library: schemas, shapes, gradients, autocast and FLOPs, all in Python.

Compiled code only adds kernels (dispatch keys ``CPU`` and ``CUDA``) to the operators defined here.
Until it does, and on every other device, the ``CompositeExplicitAutograd`` kernels below serve,
which are :mod:`msda.reference`. Level shapes travel as ``SymInt[]`` (``[H0, W0, H1, W1, ...]``),
host integers that trace without a device synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from msda import checks, reference
from msda.kernels import kernels

Shape = Sequence[int]

_library = torch.library.Library('msda', 'DEF')

_SCHEMAS = (
    'ms_deform_attn(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, '
    'Tensor attention_weights) -> Tensor',
    'ms_deform_attn_backward(Tensor grad_output, Tensor value, SymInt[] spatial_shapes, '
    'Tensor sampling_locations, Tensor attention_weights) -> (Tensor, Tensor, Tensor)',
    'ms_deform_attn_fused(Tensor value, SymInt[] spatial_shapes, Tensor reference_points, '
    'Tensor sampling_offsets, Tensor attention_logits) -> Tensor',
    'ms_deform_attn_fused_backward(Tensor grad_output, Tensor value, SymInt[] spatial_shapes, '
    'Tensor reference_points, Tensor sampling_offsets, Tensor attention_logits) '
    '-> (Tensor, Tensor, Tensor)',
)
# What the CUDA kernels offer for the two backward operators: they are told how to sum the values'
# gradient ('auto', 'reductions', 'tiles' or 'sorted': csrc/cuda/operators.h), and are asked for a
# fixed order ('sorted') when PyTorch is, at the time they run.
_SCHEMAS += tuple(
    schema.replace('_backward(', '_backward_cuda(').replace(') ->', ', str method) ->', 1)
    for schema in _SCHEMAS
    if '_backward(' in schema
)
_NAMES = [schema.split('(')[0] for schema in _SCHEMAS]
for _schema in _SCHEMAS:
    _library.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))

_REFERENCE_KERNELS = {
    'ms_deform_attn': reference.attend,
    'ms_deform_attn_backward': reference.attend_backward,
    'ms_deform_attn_fused': reference.attend_fused,
    'ms_deform_attn_fused_backward': reference.attend_fused_backward,
}


def _checked(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, behind the checks that compiled kernels make for themselves."""
    check = checks.check_fused_attention if 'fused' in name else checks.check_attention

    def forward(*arguments: Any):
        check(*arguments)
        return kernel(*arguments)

    def backward(grad_output: Tensor, *arguments: Any):
        inputs = arguments[:-1] if name.endswith('_cuda') else arguments  # without the method
        check(*inputs)
        checks.check_gradient(grad_output, inputs[0], inputs[-2])
        return kernel(grad_output, *arguments)

    return backward if '_backward' in name else forward


def _with_warning(kernel: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(kernel)
    def serve(tensor: Tensor, *arguments: Any):
        kernels.warn_of_reference(tensor.device)
        return kernel(tensor, *arguments)

    return serve


for _name, _kernel in _REFERENCE_KERNELS.items():
    _library.impl(_name, _checked(_name, _with_warning(_kernel)), 'CompositeExplicitAutograd')
kernels.load()


def _choose_method(name: str) -> Callable[..., Any]:
    kernel = getattr(torch.ops.msda, f'{name}_cuda')

    def serve(*arguments: Any):
        fixed_order = torch.are_deterministic_algorithms_enabled()
        return kernel(*arguments, 'sorted' if fixed_order else 'auto')

    return serve


if kernels.backend('cuda').name == 'compiled':
    for _name in ('ms_deform_attn_backward', 'ms_deform_attn_fused_backward'):
        _library.impl(_name, _choose_method(_name), 'CUDA')


# --- shapes (fake kernels) ----------------------------------------------------------------------


def _output_like(value: Tensor, spatial_shapes: list[int], *rest: Tensor):
    batch, _, heads, channels = value.shape
    queries = rest[-1].shape[1]
    return value.new_empty((batch, queries, heads * channels))


def _gradients_like(grad_output: Tensor, value: Tensor, spatial_shapes: list[int], *rest: Any):
    *_, coordinates, weights = (tensor for tensor in rest if isinstance(tensor, Tensor))
    return tuple(tensor.new_empty(tensor.shape) for tensor in (value, coordinates, weights))


for _name in _NAMES:
    _fake = _gradients_like if '_backward' in _name else _output_like
    torch.library.register_fake(f'msda::{_name}', _checked(_name, _fake), lib=_library)


# --- gradients ----------------------------------------------------------------------------------


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, spatial_shapes, *rest = inputs
    ctx.spatial_shapes = spatial_shapes
    ctx.save_for_backward(value, *rest)


def _attend_gradients(ctx: Any, grad_output: Tensor):
    value, locations, weights = ctx.saved_tensors
    grad_value, grad_locations, grad_weights = torch.ops.msda.ms_deform_attn_backward(
        grad_output.contiguous(), value, ctx.spatial_shapes, locations, weights
    )
    return grad_value, None, grad_locations, grad_weights


def _attend_fused_gradients(ctx: Any, grad_output: Tensor):
    value, reference_points, offsets, logits = ctx.saved_tensors
    grad_value, grad_offsets, grad_logits = torch.ops.msda.ms_deform_attn_fused_backward(
        grad_output.contiguous(), value, ctx.spatial_shapes, reference_points, offsets, logits
    )
    return grad_value, None, None, grad_offsets, grad_logits


torch.library.register_autograd(
    'msda::ms_deform_attn', _attend_gradients, setup_context=_keep_inputs, lib=_library
)
torch.library.register_autograd(
    'msda::ms_deform_attn_fused', _attend_fused_gradients, setup_context=_keep_inputs, lib=_library
)


def _keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    pass


def _no_second_derivative(ctx: Any, *grad_outputs: Tensor):
    raise NotImplementedError(
        'msda has no second derivatives; for these, differentiate the functions of msda.reference'
    )


for _name in (name for name in _NAMES if '_backward' in name):
    torch.library.register_autograd(
        f'msda::{_name}', _no_second_derivative, setup_context=_keep_nothing, lib=_library
    )


# --- autocast -----------------------------------------------------------------------------------
# torch.library.register_autocast casts every floating input to one dtype. Here the coordinates stay
# in float32: a normalised location in bfloat16 is off by two thirds of a pixel on a 168-pixel
# level.


def _lower(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _autocast_rules(device_type: str, key: str) -> None:
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))

    def attend(
        value: Tensor,
        spatial_shapes: list[int],
        sampling_locations: Tensor,
        attention_weights: Tensor,
    ):
        dtype = torch.get_autocast_dtype(device_type)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return torch.ops.msda.ms_deform_attn(
                _lower(value, dtype),
                spatial_shapes,
                _at_least_float32(sampling_locations),
                _lower(attention_weights, dtype),
            )

    def attend_fused(
        value: Tensor,
        spatial_shapes: list[int],
        reference_points: Tensor,
        sampling_offsets: Tensor,
        attention_logits: Tensor,
    ):
        dtype = torch.get_autocast_dtype(device_type)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return torch.ops.msda.ms_deform_attn_fused(
                _lower(value, dtype),
                spatial_shapes,
                _at_least_float32(reference_points),
                _lower(sampling_offsets, dtype),
                _lower(attention_logits, dtype),
            )

    _library.impl('ms_deform_attn', attend, key)
    _library.impl('ms_deform_attn_fused', attend_fused, key)


_autocast_rules('cpu', 'AutocastCPU')
_autocast_rules('cuda', 'AutocastCUDA')


# --- FLOPs --------------------------------------------------------------------------------------
# A multiply-add counts as two. Forward: four corners of D channels for each point. Backward: as
# many products for the values, and as many again for the dot products with the output's gradient.


def _attend_flops(
    value_shape: Shape,
    spatial_shapes: list[int],
    points_shape: Shape,
    weights_shape: Shape,
    **_: Any,
) -> int:
    channels = value_shape[3]
    num_points = 1
    for size in weights_shape:
        num_points *= size
    return 2 * 4 * channels * num_points


@register_flop_formula(torch.ops.msda.ms_deform_attn)
def _(
    value_shape: Shape,
    spatial_shapes: list[int],
    locations_shape: Shape,
    weights_shape: Shape,
    **kwargs: Any,
) -> int:
    return _attend_flops(value_shape, spatial_shapes, locations_shape, weights_shape)


@register_flop_formula(torch.ops.msda.ms_deform_attn_backward)
def _(
    grad_shape: Shape,
    value_shape: Shape,
    spatial_shapes: list[int],
    locations_shape: Shape,
    weights_shape: Shape,
    **kwargs: Any,
) -> int:
    return 2 * _attend_flops(value_shape, spatial_shapes, locations_shape, weights_shape)


@register_flop_formula(torch.ops.msda.ms_deform_attn_fused)
def _(
    value_shape: Shape,
    spatial_shapes: list[int],
    reference_shape: Shape,
    offsets_shape: Shape,
    logits_shape: Shape,
    **kwargs: Any,
) -> int:
    return _attend_flops(value_shape, spatial_shapes, offsets_shape, logits_shape)


@register_flop_formula(torch.ops.msda.ms_deform_attn_fused_backward)
def _(
    grad_shape: Shape,
    value_shape: Shape,
    spatial_shapes: list[int],
    reference_shape: Shape,
    offsets_shape: Shape,
    logits_shape: Shape,
    **kwargs: Any,
) -> int:
    return 2 * _attend_flops(value_shape, spatial_shapes, offsets_shape, logits_shape)
