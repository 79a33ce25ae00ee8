"""The operators as PyTorch sees them: gradients, fake tensors, autocast, compilation, FLOPs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import msda
from msda import MSDeformAttn, ms_deform_attn, ms_deform_attn_fused

SHAPES = [(4, 3), (2, 2)]
FLAT = [4, 3, 2, 2]
B, M, D, LQ, P = 2, 2, 3, 4, 2


def fused_inputs(seed=0, reference_size=2):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    value = randn(B, 16, M, D).requires_grad_()
    reference = torch.rand(1, LQ, 1, reference_size, generator=generator, dtype=torch.float64)
    # away from whole pixels, where the gradient is one-sided
    offsets = (randn(B, LQ, M, 2, P, 2).round() + 0.31).requires_grad_()
    logits = randn(B, LQ, M, 2 * P).requires_grad_()
    return value, reference, offsets, logits


def unfused_inputs(seed=0):
    value, reference, offsets, logits = fused_inputs(seed)
    sizes = torch.tensor([[3, 4], [2, 2]], dtype=torch.float64)[:, None]
    locations = (reference[:, :, None, :, None] + offsets.detach() / sizes).requires_grad_()
    weights = logits.detach().softmax(-1).view(B, LQ, M, 2, P).requires_grad_()
    return value, locations, weights


def test_gradients_equal_finite_differences():
    value, locations, weights = unfused_inputs()
    assert torch.autograd.gradcheck(
        lambda v, x, w: ms_deform_attn(v, SHAPES, x, w), (value, locations, weights)
    )


@pytest.mark.parametrize('reference_size', [2, 4])
@pytest.mark.parametrize('learnt_reference', [False, True])
def test_fused_gradients_equal_finite_differences(reference_size, learnt_reference):
    value, reference, offsets, logits = fused_inputs(reference_size=reference_size)
    reference.requires_grad_(learnt_reference)
    assert torch.autograd.gradcheck(
        lambda v, r, o, a: ms_deform_attn_fused(v, SHAPES, r, o, a),
        (value, reference, offsets, logits),
    )


def test_opcheck():
    value, locations, weights = unfused_inputs()
    torch.library.opcheck(torch.ops.msda.ms_deform_attn, (value, FLAT, locations, weights))
    value, reference, offsets, logits = fused_inputs()
    arguments = (value, FLAT, reference, offsets, logits)
    torch.library.opcheck(torch.ops.msda.ms_deform_attn_fused, arguments)
    grad = torch.randn(B, LQ, M * D, dtype=torch.float64)
    detached = [a.detach() if isinstance(a, torch.Tensor) else a for a in arguments]
    torch.library.opcheck(torch.ops.msda.ms_deform_attn_fused_backward, (grad, *detached))
    detached = (value.detach(), FLAT, locations.detach(), weights.detach())
    torch.library.opcheck(torch.ops.msda.ms_deform_attn_backward, (grad, *detached))


def module_and_inputs(dtype=torch.float32):
    torch.manual_seed(0)
    module = MSDeformAttn(12, 2, n_heads=3, n_points=2, ratio=0.5).to(dtype)
    query, feat = torch.randn(2, 5, 12, dtype=dtype), torch.randn(2, 16, 12, dtype=dtype)
    return module, query, torch.rand(1, 5, 1, 2), feat


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_lowers_values_and_keeps_coordinates(dtype):
    module, query, reference, feat = module_and_inputs()
    expected = module(query, reference, feat, SHAPES)
    with torch.autocast('cpu', dtype):
        out = module(query, reference, feat, SHAPES)
        out.float().sum().backward()
    assert out.dtype == dtype
    assert module.sampling_offsets.bias.grad.dtype == torch.float32
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.02)
    # positions that bfloat16 cannot hold: columns 300 and 301 of 512 must stay apart
    value = (torch.arange(512) % 2).float().view(1, 512, 1, 1)
    x = torch.tensor([300.5, 301.5]) / 512
    locations = torch.stack([x, torch.full_like(x, 0.5)], -1).view(1, 2, 1, 1, 1, 2)
    with torch.autocast('cpu', dtype):
        out = ms_deform_attn(value, [(1, 512)], locations, torch.ones(1, 2, 1, 1, 1))
    assert out.flatten().tolist() == [0.0, 1.0]


def test_compiles_as_one_graph_with_dynamic_shapes():
    module, query, reference, feat = module_and_inputs()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend='aot_eager')
    for queries in (5, 3):
        arguments = (query[:, :queries], reference[:, :queries], feat, SHAPES)
        torch.testing.assert_close(compiled(*arguments), module(*arguments))
    compiled(query, reference, feat, SHAPES).sum().backward()
    assert module.value_proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('reference_size', [2, 4])
@pytest.mark.parametrize('learnt_reference', [False, True])
def test_compiles_with_any_map_size(reference_size, learnt_reference):
    """Level shapes follow the image, and reference points may be learnt."""

    def attend(maps, reference, offsets, logits):
        shapes = [tuple(m.shape[1:3]) for m in maps]
        value = torch.cat([m.flatten(1, 2) for m in maps], dim=1)
        return ms_deform_attn_fused(value, shapes, reference, offsets, logits)

    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend='aot_eager')
    for shapes in (SHAPES, [(6, 5), (3, 4)]):
        _, reference, offsets, logits = fused_inputs(reference_size=reference_size)
        reference.requires_grad_(learnt_reference)
        maps = [torch.randn(B, h, w, M, D, dtype=torch.float64) for h, w in shapes]
        results = []
        for function in (attend, compiled):
            leaves = [offsets, logits, *([reference] if learnt_reference else [])]
            out = function(maps, reference, offsets, logits)
            results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
        torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
@pytest.mark.parametrize('compiled', [False, True])
def test_activation_checkpointing_recomputes_the_same(compiled, dtype):
    module, query, reference, feat = module_and_inputs()

    def attend(module, query, feat):
        return checkpoint(module, query, reference, feat, SHAPES, use_reentrant=False)

    if compiled:
        attend = torch.compile(attend, fullgraph=True, dynamic=True, backend='aot_eager')
    results = []
    for function in (lambda m, q, f: m(q, reference, f, SHAPES), attend):
        leaves = [query.clone().requires_grad_(), feat.clone().requires_grad_()]
        module.zero_grad()
        with torch.autocast('cpu', dtype, enabled=dtype is not None):
            out = function(module, *leaves)
        out.float().square().sum().backward()
        results.append([out, *(t.grad for t in (*leaves, *module.parameters()))])
    for got, wanted in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, wanted)


def test_exports_with_any_batch_and_number_of_queries():
    module, query, reference, feat = module_and_inputs()

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = module

        def forward(self, query, reference, feat):
            return self.attn(query, reference, feat, SHAPES)

    batch, queries = torch.export.Dim('batch'), torch.export.Dim('queries')
    program = torch.export.export(
        Fixed(),
        (query, reference, feat),
        dynamic_shapes=({0: batch, 1: queries}, {1: queries}, {0: batch}),
    )
    assert 'msda.ms_deform_attn_fused' in str(program.graph)
    for inputs in ((query, reference, feat), (query[:1, :3], reference[:, :3], feat[:1])):
        expected = module(*inputs, SHAPES)
        torch.testing.assert_close(program.module()(*inputs), expected)


def test_runs_on_the_meta_device():
    value, reference, offsets, logits = (t.detach().to('meta') for t in fused_inputs())
    out = ms_deform_attn_fused(value.requires_grad_(), SHAPES, reference, offsets, logits)
    out.sum().backward()
    assert (out.shape, value.grad.shape) == ((B, LQ, M * D), value.shape)


def test_second_derivatives_are_refused():
    value, reference, offsets, logits = fused_inputs()
    out = ms_deform_attn_fused(value, SHAPES, reference, offsets, logits)
    (grad,) = torch.autograd.grad(out.square().sum(), value, create_graph=True)
    with pytest.raises(NotImplementedError, match='no second derivatives'):
        grad.sum().backward()


def test_forward_mode_derivatives_are_refused():
    """PyTorch would take them for zero."""
    value, reference, offsets, logits = (t.detach() for t in fused_inputs())

    def attend(value):
        return ms_deform_attn_fused(value, SHAPES, reference, offsets, logits)

    with pytest.raises(NotImplementedError, match='no forward-mode derivatives'):
        torch.func.jvp(attend, (value,), (value,))


def test_counts_flops():
    value, reference, offsets, logits = fused_inputs()
    with FlopCounterMode(display=False) as counter:
        ms_deform_attn_fused(value, SHAPES, reference, offsets, logits).sum().backward()
    points = B * LQ * M * 2 * P
    forward = points * 4 * D * 2  # a multiply-add for each of four corners and D channels
    assert counter.get_total_flops() == 3 * forward


def test_padding_counts_as_zero():
    module, query, reference, feat = module_and_inputs()
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 5:9] = True
    out = module(query, reference, feat, SHAPES, mask)
    noise = feat.masked_fill(mask[..., None], 1e3)
    torch.testing.assert_close(out, module(query, reference, noise, SHAPES, mask))


def test_backend_names_what_serves():
    assert msda.backend('cpu').name in ('compiled', 'reference')
    assert msda.backend('meta').name == 'reference'
