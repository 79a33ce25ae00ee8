"""What `benchmark.py` times: the shapes of ViT-Adapter, and what computes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

import mmcv_ops
import msda
from mmcv_ops.attention import AttendFunction, attend
from msda import reference

HEADS = {'T': (6, 32), 'S': (6, 64), 'B': (12, 32), 'L': (16, 32)}  # M, D
WIDTHS = {'T': 192, 'S': 384, 'B': 768, 'L': 1024}  # of the tokens
DTYPES = {
    'float32': torch.float32,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
    'float64': torch.float64,
}
POINTS = 4
METHODS = ('reductions', 'tiles')  # of the values' gradient, on a GPU


class Case(NamedTuple):
    """One row of the table."""

    size: str
    image: str
    operator: str
    dtype: str

    def maps(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Sizes of the sampled maps, and of the maps whose pixels are the queries."""
        height, width = (int(side) for side in self.image.split('x'))
        pyramid = [(height // s, width // s) for s in (8, 16, 32)]
        tokens = [(height // 16, width // 16)]
        return (pyramid, tokens) if self.operator == 'injector' else (tokens, pyramid)

    def inputs(self, batch: int, device: str, seed: int) -> list[Any]:
        """Arguments of the fused operator, and a gradient of its output."""
        torch.manual_seed(seed)
        maps, queries = self.maps()
        heads, channels = HEADS[self.size]
        dtype = DTYPES[self.dtype]
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        rows, count = (sum(h * w for h, w in sizes) for sizes in (maps, queries))
        value = torch.randn(batch, rows, heads, channels)
        centres = torch.cat([pixel_centres(h, w) for h, w in queries])[None, :, None]
        # two pixels wide: between the start of a training and its end
        offsets = torch.randn(batch, count, heads, len(maps), POINTS, 2) * 2
        logits = torch.randn(batch, count, heads, len(maps) * POINTS)
        grad = torch.randn(batch, count, heads * channels)
        flat = [side for size in maps for side in size]
        tensors = [t.to(device, dtype) for t in (value, offsets, logits, grad)]
        value, offsets, logits, grad = tensors
        return [value, flat, centres.to(device, wide), offsets, logits, grad]


def pixel_centres(height: int, width: int) -> Tensor:
    """`(H * W, 2)`, normalised (x, y)."""
    y, x = ((torch.arange(n) + 0.5) / n for n in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing='ij')[::-1], -1).reshape(-1, 2)


def contenders(device: str) -> dict[str, Callable[[list[Any]], tuple[Callable[..., Tensor], list]]]:
    """What is timed: a function from inputs to (function, its arguments)."""

    def fused(function: Callable[..., Tensor]):
        return lambda i: (lambda v, o, a: function(v, i[1], i[2], o, a), [i[0], i[3], i[4]])

    def unfused(function: Callable[..., Tensor]):
        def prepare(i: list[Any]):
            locations = reference.sampling_locations(i[1], i[2], i[3]).to(i[0].dtype)
            weights = i[4].softmax(-1).view(i[3].shape[:-1])
            shapes = torch.tensor(i[1], device=i[0].device).view(-1, 2)
            starts = starts_of(shapes)
            return lambda v, x, w: function(v, shapes, starts, x, w), [i[0], locations, weights]

        return prepare

    found = {
        'ours': fused(torch.ops.msda.ms_deform_attn_fused),
        'reference': fused(reference.attend_fused),
    }
    if mmcv_itself():
        found['mmcv_pytorch'] = unfused(lambda v, shapes, _, x, w: attend.replaced(v, shapes, x, w))
        if device == 'cuda' and mmcv_ops.is_compiled():
            found['mmcv_compiled'] = unfused(lambda *a: AttendFunction.replaced.apply(*a, 64))
    if device == 'cuda' and find_spec('deformops'):
        for kernel in ('cuda', 'triton'):
            found[f'deformops_{kernel}'] = unfused(deformops(kernel))
    return found


def starts_of(shapes: Tensor) -> Tensor:
    """The first row of every level."""
    return torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])


def deformops(kernel: str) -> Callable[..., Tensor]:
    """The operator of the package `deformops`, with one of its kernels: cuda, triton or eager.

    It takes value, shapes and starts of the levels, locations and weights, as mmcv's does. Its
    wheel has no compiled CUDA kernels: DEFORMOPS_COMPILE=fallback compiles them at the first call.
    """
    from deformops.registry import Backend, msda

    return partial(msda, backend=Backend(kernel))


def mmcv_itself() -> ModuleType | None:
    """mmcv's module of deformable attention; what it computed with is at ``attend.replaced``."""
    try:
        from mmcv.ops import multi_scale_deform_attn
    except ImportError:
        return None
    return multi_scale_deform_attn


class _ByMethod(torch.autograd.Function):
    """Ours, with the values' gradient summed by one method."""

    @staticmethod
    def forward(ctx: Any, method: str, shapes: list[int], centres: Tensor, *rest: Tensor) -> Tensor:
        ctx.method, ctx.shapes = method, shapes
        ctx.save_for_backward(centres, *rest)
        value, offsets, logits = rest
        return torch.ops.msda.ms_deform_attn_fused(value, shapes, centres, offsets, logits)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        centres, value, offsets, logits = ctx.saved_tensors
        grads = torch.ops.msda.ms_deform_attn_fused_backward_cuda(
            grad, value, ctx.shapes, centres, offsets, logits, ctx.method
        )
        return None, None, None, *grads


def methods() -> dict[str, Callable[[list[Any]], tuple[Callable[..., Tensor], list]]]:
    """As `contenders`, for the ways in which ours sums the gradient of the values."""

    def by(method: str):
        return lambda i: (
            lambda v, o, a: _ByMethod.apply(method, i[1], i[2], v, o, a),
            [i[0], i[3], i[4]],
        )

    return {method: by(method) for method in METHODS}


def modules(case: Case, device: str) -> dict[str, Callable[[list[Any]], tuple[Callable, list]]]:
    """As `contenders`, for whole modules: from queries and features to the attended queries."""
    heads, channels = HEADS[case.size]
    maps, _ = case.maps()
    dtype, width = DTYPES[case.dtype], WIDTHS[case.size]
    ratio = heads * channels / width
    shapes = torch.tensor(maps, device=device)
    starts = starts_of(shapes)

    def prepared(run: Callable[[Tensor, Tensor, Tensor], Tensor]):
        def prepare(i: list[Any]):
            value, _, centres, offsets, *_ = i
            torch.manual_seed(0)
            query = torch.randn(*offsets.shape[:2], width).to(value)
            feat = torch.randn(*value.shape[:2], width).to(value)
            centres = centres.expand(len(query), -1, len(maps), -1)
            return lambda q, f: run(q, f, centres), [query, feat]

        return prepare

    ours = msda.MSDeformAttn(width, len(maps), n_heads=heads, n_points=POINTS, ratio=ratio)
    ours.to(device, dtype)
    found = {'ours': prepared(lambda q, f, r: ours(q, r, f, maps))}
    attention = mmcv_itself()
    if attention is None or (device == 'cuda' and not mmcv_ops.is_compiled()):
        return found
    attention.multi_scale_deformable_attn_pytorch = attend.replaced
    attention.MultiScaleDeformableAttnFunction = AttendFunction.replaced
    theirs = attention.MultiScaleDeformableAttention(
        width, heads, len(maps), POINTS, dropout=0.0, batch_first=True, value_proj_ratio=ratio
    )
    theirs.to(device, dtype)
    found['mmcv_compiled' if device == 'cuda' else 'mmcv_pytorch'] = prepared(
        lambda q, f, r: theirs(
            q, value=f, reference_points=r, spatial_shapes=shapes, level_start_index=starts
        )
    )
    return found
