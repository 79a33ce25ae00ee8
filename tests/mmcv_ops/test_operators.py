"""Every operator against a plain loop, its gradient against finite differences, in every width, on
the CPU and on a GPU (a pretended one where there is none, see :mod:`tests.mmcv_ops.pretend`)."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from mmcv_ops import operators
from tests.mmcv_ops import loops

REGIONS = [[0, 1.3, 2.2, 15.1, 13.7], [1, 3.3, 1.1, 13.2, 18.0], [0, -4.0, 0.2, 5.0, 6.0]]


def some_boxes(count, *, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 4, generator=generator) * 40
    boxes[:, 2:] = boxes[:, :2] + 2 + boxes[:, 2:] / 2
    return boxes.to(dtype), torch.rand(count, generator=generator).to(dtype)


def some_maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def check_gradients(function, device, *tensors, fast=False):
    """Of a function of tensors on a device, against finite differences; the leaves are the CPU's.

    A GPU adds in any order; off the CPU one direction does.
    """
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    assert gradcheck(
        lambda *given: function(*(tensor.to(device) for tensor in given)).cpu(),
        leaves,
        nondet_tol=1e-10,
        fast_mode=fast or device.type != 'cpu',
    )


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_keeps_what_a_loop_keeps(ops, device, offset):
    boxes, scores = some_boxes(60)
    dets, kept = ops.nms(boxes.to(device), scores.to(device), 0.4, offset=offset)
    assert kept.tolist() == loops.nms(boxes.double().numpy(), scores.numpy(), 0.4, offset)
    kept = kept.cpu()
    assert torch.equal(dets.cpu(), torch.cat([boxes[kept], scores[kept, None]], 1))

    labels, options = torch.arange(60) % 3, dict(type='nms', iou_threshold=0.4, offset=offset)
    there = [tensor.to(device) for tensor in (boxes, scores, labels)]
    _, kept = ops.batched_nms(*there, options)
    expected = [
        int(places[index])
        for places in ((labels == label).nonzero()[:, 0] for label in range(3))
        for index in loops.nms(boxes[places].numpy(), scores[places].numpy(), 0.4, offset)
    ]
    assert sorted(kept.tolist()) == sorted(expected)


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms_lowers_scores_as_a_loop_does(ops, device, method, offset):
    boxes, scores = some_boxes(40)
    dets, kept = ops.soft_nms(boxes.to(device), scores.to(device), 0.3, 0.5, 0.05, method, offset)
    dets, kept = dets.cpu(), kept.cpu()
    expected = loops.soft_nms(
        boxes.double().numpy(), scores.double().numpy(), 0.3, 0.5, 0.05, method, offset
    )
    assert kept.tolist() == [index for index, _ in expected]
    wanted = torch.tensor([score for _, score in expected], dtype=torch.float32)
    torch.testing.assert_close(dets[:, 4], wanted, rtol=1e-5, atol=1e-6)
    assert torch.equal(dets[:, :4], boxes[kept])


def test_nms_match_groups_around_what_nms_keeps(ops, device):
    boxes, scores = some_boxes(50)
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], 1).to(device), 0.4)
    groups = [group.cpu() for group in groups]
    assert [int(group[0]) for group in groups] == loops.nms(boxes.numpy(), scores.numpy(), 0.4)
    assert sorted(int(index) for group in groups for index in group) == list(range(50))
    for group in groups:
        assert all(loops.overlap(boxes[group[0]], boxes[other]) >= 0.4 for other in group[1:])


@pytest.mark.parametrize('offset', [0, 1])
def test_overlaps(ops, device, offset):
    first, second = some_boxes(6)[0].double(), some_boxes(6, seed=1)[0].double()
    wanted = torch.tensor([[loops.overlap(a, b, offset) for b in second] for a in first])

    def overlaps(**options):
        return ops.bbox_overlaps(
            first.to(device), second.to(device), offset=offset, **options
        ).cpu()

    torch.testing.assert_close(overlaps(), wanted.double())
    torch.testing.assert_close(overlaps(aligned=True), wanted.diag().double())
    areas = (first[:, 2:] - first[:, :2] + offset).prod(1)
    others = (second[:, 2:] - second[:, :2] + offset).prod(1)
    inside = wanted / (1 + wanted) * (areas[:, None] + others)
    torch.testing.assert_close(overlaps(mode='iof'), (inside / areas[:, None]).double())


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize(('ratio', 'aligned'), [(0, True), (2, True), (0, False), (3, False)])
def test_roi_align(ops, device, mode, ratio, aligned):
    maps, rois = some_maps(2, 2, 9, 8), torch.tensor(REGIONS).double()

    def align(maps):
        return ops.roi_align(maps, rois.to(device), (3, 2), 0.5, ratio, mode, aligned)

    wanted = loops.roi_align(maps.numpy(), rois.numpy(), (3, 2), 0.5, ratio, mode, aligned)
    out = align(maps.to(device)).cpu()
    torch.testing.assert_close(out, torch.from_numpy(wanted), rtol=1e-6, atol=1e-6)
    check_gradients(align, device, maps)


def test_roi_pool(ops, device):
    maps = some_maps(2, 2, 9, 8)
    outside = [[1, 30.0, 30.0, 40.0, 40.0], [0, 6.0, 6.0, 2.0, 2.0]]
    rois = torch.tensor(REGIONS + outside).double()

    def pool(maps):
        return ops.roi_pool(maps, rois.to(device), (3, 2), 0.5)

    wanted = loops.roi_pool(maps.numpy(), rois.numpy(), (3, 2), 0.5)
    torch.testing.assert_close(pool(maps.to(device)).cpu(), torch.from_numpy(wanted))
    check_gradients(pool, device, maps)


@pytest.mark.parametrize('gamma', [2.0, 0.5])
@pytest.mark.parametrize('weighted', [False, True])
def test_focal_losses(ops, device, gamma, weighted):
    logits = 3 * some_maps(8, 5)
    labels = torch.tensor([0, 4, 5, 2, 3, 1, 5, 0])  # 5 is background
    weight = torch.rand(5, dtype=torch.float64) if weighted else None
    factor = torch.ones(6).double() if weight is None else F.pad(weight, (0, 1), value=1.0)
    own = F.one_hot(labels, 6)[:, :5].bool()
    p = logits.sigmoid()
    wanted = torch.where(own, -0.25 * (1 - p) ** gamma * p.log(), -0.75 * p**gamma * (1 - p).log())

    def check(loss, labels, wanted):
        there = None if weight is None else weight.to(device)

        def reduced(x, reduction):
            return loss(x, labels.to(device), gamma, 0.25, there, reduction)

        torch.testing.assert_close(reduced(logits.to(device), 'none').cpu(), wanted)
        check_gradients(lambda x: reduced(x, 'mean'), device, logits)

    check(ops.sigmoid_focal_loss, labels, wanted * factor[labels, None])
    labels = labels.clamp(max=4)
    p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    wanted = -0.25 * (1 - p) ** gamma * p.log() * factor[labels]
    check(ops.softmax_focal_loss, labels, wanted)


@pytest.mark.parametrize(('groups', 'deform_groups', 'stride'), [(1, 1, 1), (2, 2, 2)])
def test_deformable_convolutions(ops, device, groups, deform_groups, stride):
    maps = some_maps(2, 4, 5, 4)
    weight = some_maps(2, 4 // groups, 3, 3, seed=1)
    size = (-(-5 // stride), -(-4 // stride))
    offsets = 2 * some_maps(2, 18 * deform_groups, *size, seed=2)
    mask = some_maps(2, 9 * deform_groups, *size, seed=3)
    bias = some_maps(2, seed=4)
    arrays = [tensor.numpy() for tensor in (maps, offsets, weight)]
    options = dict(padding=1, stride=stride, groups=groups, deform_groups=deform_groups)

    def plain(*tensors):
        return ops.deform_conv2d(*tensors, stride, 1, 1, groups, deform_groups)

    def modulated(*tensors):
        return ops.modulated_deform_conv2d(*tensors, stride, 1, 1, groups, deform_groups)

    def check(function, tensors, wanted):
        out = function(*(tensor.to(device) for tensor in tensors)).cpu()
        torch.testing.assert_close(out, wanted)
        check_gradients(function, device, *tensors, fast=True)

    wanted = loops.deform_conv(*arrays, torch.ones_like(mask).numpy(), **options)
    check(plain, (maps, offsets, weight), torch.from_numpy(wanted))
    wanted = torch.from_numpy(loops.deform_conv(*arrays, mask.numpy(), **options))
    check(modulated, (maps, offsets, mask, weight, bias), wanted + bias[:, None, None])
    check(lambda *t: modulated(*t, None), (maps, offsets, mask, weight), wanted)


def test_offsets_that_are_larger_than_the_output_are_read_row_after_row(ops, device):
    """As DyHead gives them: mmcv's kernel does not look at their size."""
    maps, weight, bias = some_maps(2, 3, 4, 3), some_maps(2, 3, 3, 3, seed=1), some_maps(2, seed=4)
    together = some_maps(2, 27, 8, 6, seed=2)  # offsets and masks are slices of one map

    def modulated(maps, together, weight, bias):
        return ops.modulated_deform_conv2d(
            maps, together[:, :18], together[:, 18:], weight, bias, 1, 1, 1, 1, 1
        )

    read = [
        part.numpy().reshape(2, -1)[:, : channels * 12].reshape(2, channels, 4, 3)
        for part, channels in ((together[:, :18], 18), (together[:, 18:], 9))
    ]
    options = dict(padding=1, stride=1, groups=1, deform_groups=1)
    wanted = torch.from_numpy(
        loops.deform_conv(maps.numpy(), read[0], weight.numpy(), read[1], **options)
    )
    tensors = (maps, together, weight, bias)
    out = modulated(*(tensor.to(device) for tensor in tensors)).cpu()
    torch.testing.assert_close(out, wanted + bias[:, None, None])
    check_gradients(modulated, device, *tensors, fast=True)
    with pytest.raises(RuntimeError, match='offset output dims'):
        modulated(maps.repeat(1, 1, 4, 4), together, weight, bias)


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
def test_psa_mask(ops, device, kind):
    masks = some_maps(2, 15, 4, 3)
    out = ops.PSAMask(kind, (3, 5))(masks.to(device)).cpu()
    assert torch.equal(out, torch.from_numpy(loops.psa_mask(masks.numpy(), (3, 5), kind)))
    check_gradients(ops.PSAMask(kind, (3, 5)), device, masks)


@pytest.mark.parametrize('name', ['carafe', 'carafe_naive'])
def test_carafe(ops, device, name):
    maps, masks = some_maps(2, 4, 3, 4), some_maps(2, 18, 6, 8, seed=1)
    leaves = [tensor.to(device, copy=True).requires_grad_() for tensor in (maps, masks)]
    out = getattr(ops, name)(*leaves, 3, 2, 2)
    wanted = loops.carafe(maps.numpy(), masks.numpy(), 3, 2, 2)
    torch.testing.assert_close(out.detach().cpu(), torch.from_numpy(wanted))

    def differentiable(maps, masks):
        unfolded = F.unfold(maps, 3, padding=1).view(2, 2, 2, 9, 3, 4)
        unfolded = unfolded.repeat_interleave(2, 4).repeat_interleave(2, 5)
        return (unfolded * masks.view(2, 2, 1, 9, 6, 8)).sum(3).view(2, 4, 6, 8)

    grad = some_maps(2, 4, 6, 8, seed=2)
    _, (of_maps, of_masks) = torch.autograd.functional.vjp(differentiable, (maps, masks), grad)
    if device.type == 'cpu':  # which mmcv's autograd function refuses in its backward
        got = torch.empty_like(maps), torch.empty_like(masks)
        unused = [torch.empty(0)] * (4 if name == 'carafe' else 0)
        operators.OPERATORS[f'{name}_backward'](grad, maps, masks, *unused, *got, 3, 2, 2)
    else:
        got = torch.autograd.grad(out, leaves, grad.to(device))
    torch.testing.assert_close(got[0].cpu(), of_maps)
    torch.testing.assert_close(got[1].cpu(), of_masks)


def test_masked_convolution(ops, device):
    weight, bias = some_maps(5, 3, 3, 1, seed=2), some_maps(5, seed=3)
    maps, mask = some_maps(1, 3, 6, 5), some_maps(1, 6, 5, seed=1)
    wanted = F.conv2d(maps, weight, bias, padding=(1, 0)) * (mask > 0)
    there = [tensor.to(device) for tensor in (maps, mask, weight, bias)]
    torch.testing.assert_close(ops.masked_conv2d(*there, (1, 0)).cpu(), wanted)
    there[1] = torch.zeros_like(there[1])
    assert torch.count_nonzero(ops.masked_conv2d(*there, (1, 0)).cpu()) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_16_bits_are_computed_wide(ops, device, dtype):
    """Each result is that of float32 for the same numbers, rounded once; and float32's that of
    float64 on the CPU."""
    boxes, scores = some_boxes(40, dtype=dtype)
    kept = ops.nms(boxes.to(device), scores.to(device), 0.4)[1]
    assert kept.tolist() == ops.nms(boxes.float(), scores.float(), 0.4)[1].tolist()
    maps, rois = some_maps(2, 4, 9, 8), torch.tensor(REGIONS)
    weight, offsets, mask = some_maps(2, 4, 3, 3), some_maps(2, 18, 9, 8), some_maps(2, 9, 9, 8)
    kernels, logits = some_maps(2, 18, 18, 16), some_maps(9, 5)
    tensors = [t.to(dtype) for t in (maps, rois, weight, offsets, mask, kernels, logits)]

    def results(place, to):
        m, r, w, o, k, c, x = (tensor.to(place, to) for tensor in tensors)
        labels = (torch.arange(9) % 5).to(place)
        m, x = m.requires_grad_(), x.requires_grad_()
        for mode in ('avg', 'max'):
            yield ops.roi_align(m, r, (3, 2), 0.5, 2, mode, True), m
        yield ops.roi_pool(m, r, (3, 2), 0.5), m
        yield ops.deform_conv2d(m, o, w, 1, 1), m
        yield ops.modulated_deform_conv2d(m, o, k, w, None, 1, 1), m
        yield ops.sigmoid_focal_loss(x, labels, 2.0, 0.25, None, 'none'), x
        # mmcv refuses the CPU in the backward pass
        yield ops.carafe(m, c, 3, 2, 2), None if device.type == 'cpu' else m
        yield ops.PSAMask('collect', (3, 3))(k), None

    for (narrow, leaf), (wide, wide_leaf), (widest, _) in zip(
        results(device, dtype),
        results(device, torch.float32),
        results('cpu', torch.float64),
        strict=True,
    ):
        assert narrow.dtype == dtype
        assert torch.equal(narrow.cpu(), wide.to(dtype).cpu())
        torch.testing.assert_close(wide.cpu(), widest.float(), rtol=1e-4, atol=1e-4)
        if leaf is not None:
            (grad,) = torch.autograd.grad(narrow.sum(), leaf)
            (wide_grad,) = torch.autograd.grad(wide.sum(), wide_leaf)
            close = dict(rtol=0.02, atol=0.02)
            torch.testing.assert_close(grad.cpu(), wide_grad.to(dtype).cpu(), **close)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_into_operators(ops, device, dtype):
    """They compute in what they are given, as compiled ones do."""
    maps, masks = some_maps(2, 4, 3, 4).float(), some_maps(2, 18, 6, 8, seed=1).float()
    offsets, weight = some_maps(2, 18, 3, 4).float(), some_maps(2, 4, 3, 3).float()

    def results():
        m, k, o, w = (tensor.to(device) for tensor in (maps, masks, offsets, weight))
        return [ops.carafe(m, k, 3, 2, 2).cpu(), ops.deform_conv2d(m, o, w, 1, 1).cpu()]

    wanted = results()
    with torch.autocast('cuda' if torch.cuda.is_available() else 'cpu', dtype):
        got = results()
    for ours, expected in zip(got, wanted, strict=True):
        assert torch.equal(ours, expected)


def test_empty_inputs(ops, device):
    def zeros(*shape, **options):
        return torch.zeros(shape, **options).to(device).requires_grad_()

    with torch.no_grad():
        assert ops.nms(zeros(0, 4), zeros(0), 0.5)[1].shape == (0,)
        assert ops.soft_nms(zeros(0, 4), zeros(0))[1].shape == (0,)
        assert ops.nms_match(zeros(0, 5), 0.5) == []
        assert ops.bbox_overlaps(zeros(0, 4), zeros(3, 4)).shape == (0, 3)
    maps, rois = zeros(2, 3, 5, 5), zeros(0, 5).detach()
    for mode in ('avg', 'max'):
        out = ops.roi_align(maps, rois, (2, 2), 1.0, 0, mode, True)
        assert out.shape == (0, 3, 2, 2)
        out.sum().backward()
    ops.roi_pool(maps, rois, (2, 2)).sum().backward()
    assert torch.count_nonzero(maps.grad.cpu()) == 0
    logits, labels = zeros(0, 4), torch.zeros(0).long().to(device)
    ops.sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, 'sum').backward()
    assert logits.grad.shape == (0, 4)


@pytest.mark.parametrize(
    ('rois', 'complaint'),
    [
        ([[2, 0, 0, 4, 4]], 'images 2 to 2, and there are 2'),
        ([[0, 0, 0, 4, 4], [-1, 0, 0, 4, 4]], 'images -1 to 0'),
        ([[0, 0, 0, 4, 4], [0, 0, torch.nan, 4, 4]], '1 of 2 regions'),
        ([[0, -torch.inf, 0, torch.inf, 4]], '1 of 1 regions'),
    ],
)
def test_regions_outside_of_the_memory_are_refused(ops, rois, complaint):
    maps, rois = some_maps(2, 3, 5, 5).float(), torch.tensor(rois)
    for mode in ('avg', 'max'):
        with pytest.raises(ValueError, match=complaint):
            ops.roi_align(maps, rois, (2, 2), 1.0, 2, mode, True)
    with pytest.raises(ValueError, match=complaint):
        ops.roi_pool(maps, rois, (2, 2), 1.0)


def test_offsets_that_are_not_finite_lie_outside_of_the_map(ops, device):
    maps, weight = some_maps(1, 2, 4, 4).float(), some_maps(2, 2, 3, 3).float()
    offsets = some_maps(1, 18, 4, 4).float()
    odd, far = offsets.clone(), offsets.clone()
    odd[0, ::5], far[0, ::5] = torch.nan, 100
    odd[0, 1::7], far[0, 1::7] = -torch.inf, 100

    def results(offsets):
        tensors = [x.to(device).requires_grad_() for x in (maps, offsets, weight)]
        out = ops.deform_conv2d(*tensors, 1, 1)
        out.square().sum().backward()
        return [x.cpu().detach() for x in (out, *(tensor.grad for tensor in tensors))]

    for got, wanted in zip(results(odd), results(far), strict=True):
        assert torch.allclose(got, wanted, atol=1e-6)


def test_shapes_and_types_that_do_not_fit_are_refused(ops):
    maps, weight = some_maps(1, 4, 4, 4).float(), some_maps(2, 4, 3, 3).float()
    offsets = torch.zeros(1, 18, 4, 4)
    for groups, deform_groups in ((2, 1), (1, 2)):
        with pytest.raises(ValueError, match=f'in {groups} groups with {deform_groups} groups'):
            ops.deform_conv2d(maps, offsets, weight, 1, 1, 1, groups, deform_groups)
    boxes, scores = some_boxes(3)
    for operator in (ops.nms, ops.soft_nms):
        with pytest.raises(TypeError, match='boxes are torch.int32'):
            operator(boxes.int(), scores, 0.5)
    with pytest.raises(TypeError, match='boxes are torch.int32'):
        ops.bbox_overlaps(boxes.int(), boxes.int())
