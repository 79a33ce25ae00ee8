"""The CUDA kernels on a GPU: numbers, determinism, streams, graphs, devices. `pytest -m cuda`."""

from __future__ import annotations

import math

import pytest
import torch

import msda
from msda import reference
from tests.msda.backends import (
    assert_close,
    compiled,
    fused_inputs,
    grad_for,
    is_compiled,
    to_double,
    unfused_inputs,
)

pytestmark = pytest.mark.cuda
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
MAPS = {1: [(5, 7)], 3: [(8, 9), (4, 5), (2, 3)], 4: [(4, 3), (0, 4), (2, 2), (1, 1)]}


@pytest.fixture(autouse=True)
def _kernels_are_there():
    assert is_compiled('cuda'), f'msda on cuda: {msda.backend("cuda")}'


def to_cpu(results):
    return [r.cpu() for r in results]


def expect(results, wanted, tolerance):
    for result, expected in zip(results, wanted, strict=True):
        assert_close(result.cpu(), expected, tolerance=tolerance)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('channels', [1, 4, 12, 24, 30, 32, 40, 64, 71, 128, 160])
def test_equals_the_reference(channels, dtype):
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    for number, (levels, points) in enumerate([(1, 4), (3, 4), (4, 4), (3, 8), (4, 1)]):
        sizes = dict(
            channels=channels,
            shapes=MAPS[levels],
            points=points,
            reference_size=[2, 4][number % 2],
            queries=[21, 70][number % 2],
            device='cuda',
        )
        for make, plain in ((fused_inputs, 'attend_fused'), (unfused_inputs, 'attend')):
            arguments = make(dtype, **sizes)
            grad = grad_for(arguments[0].cpu(), sizes['queries']).cuda()
            wide = [a.cpu() if isinstance(a, torch.Tensor) else a for a in to_double(arguments)]
            out = getattr(compiled, plain)(*arguments)
            expect([out], [getattr(reference, plain)(*wide)], tolerance)
            grads = getattr(compiled, f'{plain}_backward')(grad, *arguments)
            wanted = getattr(reference, f'{plain}_backward')(grad.double().cpu(), *wide)
            expect(grads, wanted, 10 * tolerance)


MAPS_OF_QUERIES = {
    'injector': ([(24, 20), (12, 10), (6, 5)], 120),
    'encoder': ([(24, 20), (12, 10), (6, 5)], 630),
    'extractor': ([(20, 12)], 40 * 24 + 20 * 12 + 10 * 6),
    'extractor of odd sizes': ([(9, 7)], 17 * 14 + 9 * 7 + 5 * 4),
    'more rows in a tile than its table has room for': ([(64, 64)], 64 * 64),
    'on no map': ([(24, 20), (12, 10), (6, 5)], 100),
}


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('layout', MAPS_OF_QUERIES)
def test_every_method_equals_the_reference(layout, dtype):
    shapes, queries = MAPS_OF_QUERIES[layout]
    arguments = fused_inputs(dtype, shapes=shapes, queries=queries, device='cuda')
    wide = [a.cpu() if isinstance(a, torch.Tensor) else a for a in to_double(arguments)]
    out = compiled.attend_fused(*arguments)
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    expect([out], [reference.attend_fused(*wide)], tolerance)
    grad = grad_for(arguments[0].cpu(), queries).cuda()
    wanted = reference.attend_fused_backward(grad.double().cpu(), *wide)
    for method in ('auto', 'reductions', 'tiles', 'sorted'):
        if (method, dtype) != ('tiles', torch.float64):
            backward = torch.ops.msda.ms_deform_attn_fused_backward_cuda
            expect(backward(grad, *arguments, method), wanted, 10 * tolerance)


def test_gradients_equal_finite_differences():
    value, shapes, centres, offsets, logits = fused_inputs(
        torch.float64, queries=3, channels=4, points=2, device='cuda'
    )
    leaves = [t.requires_grad_() for t in (value, offsets, logits)]
    assert torch.autograd.gradcheck(
        lambda v, o, a: compiled.attend_fused(v, shapes, centres, o, a),
        leaves,
        nondet_tol=1e-12,
    )


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_deterministic_mode_gives_the_same_bits(dtype):
    arguments = fused_inputs(dtype, queries=300, device='cuda')
    grad = grad_for(arguments[0].cpu(), 300).cuda()
    torch.use_deterministic_algorithms(True)
    try:
        first = compiled.attend_fused_backward(grad, *arguments)
        again = [compiled.attend_fused_backward(grad, *arguments) for _ in range(5)]
    finally:
        torch.use_deterministic_algorithms(False)
    for results in again:
        assert all(a.equal(b) for a, b in zip(results, first, strict=True))
    loose = compiled.attend_fused_backward(grad, *arguments)
    expect(loose, to_cpu(t.double() for t in first), 1e-4)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_points_that_are_nowhere_count_as_zero(dtype):
    arguments = fused_inputs(dtype, channels=40)
    for number, bad in enumerate((math.nan, math.inf, -math.inf, 6e4, -6e4)):
        arguments[3][:, number::6, :, :, 1, number % 2] = bad
    grad = grad_for(arguments[0], 21)
    on_gpu = [a.cuda() if isinstance(a, torch.Tensor) else a for a in (grad, *arguments)]
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    wide = to_double([grad, *arguments])
    expect([compiled.attend_fused(*on_gpu[1:])], [reference.attend_fused(*wide[1:])], tolerance)
    grads = compiled.attend_fused_backward(*on_gpu)
    expect(grads, reference.attend_fused_backward(*wide), 10 * tolerance)


def test_empty_inputs():
    for sizes in (dict(batch=0), dict(queries=0), dict(shapes=[(0, 3)]), dict(channels=0)):
        arguments = fused_inputs(device='cuda', **sizes)
        out = compiled.attend_fused(*arguments)
        assert out.eq(0).all()
        grads = compiled.attend_fused_backward(torch.ones_like(out), *arguments)
        assert all(g.eq(0).all() for g in grads)


def test_any_strides_and_alignment():
    arguments = fused_inputs(channels=12, device='cuda')
    value, shapes, centres, offsets, logits = arguments
    dense = to_cpu(to_double([compiled.attend_fused(*arguments)]))
    joint = torch.cat([offsets.flatten(2), logits.flatten(2)], dim=-1)
    width = offsets[0, 0].numel()
    shifted = torch.empty(value.numel() + 1, device='cuda')[1:].view(value.shape).copy_(value)
    for given in (value.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0), shifted):
        views = joint[..., :width].view(offsets.shape), joint[..., width:].view(logits.shape)
        expect([compiled.attend_fused(given, shapes, centres, *views)], dense, 1e-6)


def test_runs_on_the_current_stream_and_in_a_graph():
    arguments = fused_inputs(device='cuda')
    leaves = [arguments[i].requires_grad_() for i in (0, 3, 4)]

    def step():
        out = compiled.attend_fused(*arguments)
        # detached: a graph of autograd that outlives its stream ends the capture
        return out.detach(), *torch.autograd.grad(out.square().sum(), leaves)

    expected = to_cpu(step())
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    for result in results:
        result.zero_()
    graph.replay()
    expect(results, to_double(expected), 1e-5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two GPUs')
def test_runs_on_the_device_of_the_tensors():
    first = compiled.attend_fused(*fused_inputs(device='cuda:0'))
    second = compiled.attend_fused(*fused_inputs(device='cuda:1'))
    assert second.device.index == 1
    assert second.cpu().equal(first.cpu())


def test_index_arithmetic_past_two_billion_elements():
    """The last rows of a map whose elements exceed 2^31, and of its gradient."""
    side, channels = 8200, 32
    if torch.cuda.get_device_properties(0).total_memory < 24e9:
        pytest.skip('needs 24 GB')
    value = torch.zeros(1, side * side, 1, channels, dtype=torch.float16, device='cuda')
    assert value.numel() > 2**31
    value[0, -1] = 1
    locations = torch.full((1, 1, 1, 1, 1, 2), 1 - 0.5 / side, device='cuda')
    arguments = (value, [side, side], locations, value.new_ones(1, 1, 1, 1, 1))
    out = compiled.attend(*arguments)
    assert out.float().mean() > 0.9
    for method in ('reductions', 'tiles', 'sorted'):
        backward = torch.ops.msda.ms_deform_attn_backward_cuda
        grad = backward(torch.ones_like(out), *arguments, method)[0]
        assert grad[0, -1].float().mean() > 0.9
        assert grad[0, :1000].eq(0).all()
        del grad


@pytest.mark.parametrize('make', [fused_inputs, unfused_inputs])
def test_opcheck(make):
    arguments = make(queries=3, channels=8, device='cuda')
    grad = grad_for(arguments[0].cpu(), 3).cuda()
    name = 'ms_deform_attn_fused' if make is fused_inputs else 'ms_deform_attn'
    ops = torch.ops.msda
    torch.library.opcheck(getattr(ops, name), arguments)
    backward = getattr(ops, f'{name}_backward')
    torch.library.opcheck(backward, (grad, *arguments), atol=1e-5, rtol=1e-5)
    method = getattr(ops, f'{name}_backward_cuda')
    torch.library.opcheck(method, (grad, *arguments, 'sorted'))


def test_too_many_points_and_levels_are_refused():
    with pytest.raises(RuntimeError, match='256 points'):
        compiled.attend_fused(*fused_inputs(points=200, device='cuda'))
    with pytest.raises(RuntimeError, match='16 levels'):
        compiled.attend_fused(*fused_inputs(shapes=[(1, 2)] * 17, device='cuda'))
