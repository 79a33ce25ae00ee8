"""Every operator against a plain loop, its gradient against finite differences, in every width."""

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


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_keeps_what_a_loop_keeps(ops, offset):
    boxes, scores = some_boxes(60)
    dets, kept = ops.nms(boxes, scores, 0.4, offset=offset)
    assert kept.tolist() == loops.nms(boxes.double().numpy(), scores.numpy(), 0.4, offset)
    assert torch.equal(dets, torch.cat([boxes[kept], scores[kept, None]], 1))


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms_lowers_scores_as_a_loop_does(ops, method, offset):
    boxes, scores = some_boxes(40)
    dets, kept = ops.soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    expected = loops.soft_nms(
        boxes.double().numpy(), scores.double().numpy(), 0.3, 0.5, 0.05, method, offset
    )
    assert kept.tolist() == [index for index, _ in expected]
    wanted = torch.tensor([score for _, score in expected], dtype=torch.float32)
    torch.testing.assert_close(dets[:, 4], wanted, rtol=1e-5, atol=1e-6)
    assert torch.equal(dets[:, :4], boxes[kept])


def test_nms_match_groups_around_what_nms_keeps(ops):
    boxes, scores = some_boxes(50)
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)
    assert [int(group[0]) for group in groups] == loops.nms(boxes.numpy(), scores.numpy(), 0.4)
    assert sorted(int(index) for group in groups for index in group) == list(range(50))
    for group in groups:
        assert all(loops.overlap(boxes[group[0]], boxes[other]) >= 0.4 for other in group[1:])


@pytest.mark.parametrize('offset', [0, 1])
def test_overlaps(ops, offset):
    first, second = some_boxes(6)[0].double(), some_boxes(6, seed=1)[0].double()
    wanted = torch.tensor([[loops.overlap(a, b, offset) for b in second] for a in first])
    torch.testing.assert_close(ops.bbox_overlaps(first, second, offset=offset), wanted.double())
    aligned = ops.bbox_overlaps(first, second, aligned=True, offset=offset)
    torch.testing.assert_close(aligned, wanted.diag().double())
    areas = (first[:, 2:] - first[:, :2] + offset).prod(1)
    others = (second[:, 2:] - second[:, :2] + offset).prod(1)
    inside = wanted / (1 + wanted) * (areas[:, None] + others)
    of_first = ops.bbox_overlaps(first, second, mode='iof', offset=offset)
    torch.testing.assert_close(of_first, (inside / areas[:, None]).double())


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize(('ratio', 'aligned'), [(0, True), (2, True), (0, False), (3, False)])
def test_roi_align(ops, mode, ratio, aligned):
    maps, rois = some_maps(2, 2, 9, 8).requires_grad_(), torch.tensor(REGIONS).double()
    out = ops.roi_align(maps, rois, (3, 2), 0.5, ratio, mode, aligned)
    wanted = loops.roi_align(maps.detach().numpy(), rois.numpy(), (3, 2), 0.5, ratio, mode, aligned)
    torch.testing.assert_close(out, torch.from_numpy(wanted), rtol=1e-6, atol=1e-6)
    assert gradcheck(
        lambda maps: ops.roi_align(maps, rois, (3, 2), 0.5, ratio, mode, aligned), maps
    )


def test_roi_pool(ops):
    maps = some_maps(2, 2, 9, 8).requires_grad_()
    outside = [[1, 30.0, 30.0, 40.0, 40.0], [0, 6.0, 6.0, 2.0, 2.0]]
    rois = torch.tensor(REGIONS + outside).double()
    out = ops.roi_pool(maps, rois, (3, 2), 0.5)
    wanted = loops.roi_pool(maps.detach().numpy(), rois.numpy(), (3, 2), 0.5)
    torch.testing.assert_close(out, torch.from_numpy(wanted))
    assert gradcheck(lambda maps: ops.roi_pool(maps, rois, (3, 2), 0.5), maps)


@pytest.mark.parametrize('gamma', [2.0, 0.5])
@pytest.mark.parametrize('weighted', [False, True])
def test_focal_losses(ops, gamma, weighted):
    logits = (3 * some_maps(8, 5)).requires_grad_()
    labels = torch.tensor([0, 4, 5, 2, 3, 1, 5, 0])  # 5 is background
    weight = torch.rand(5, dtype=torch.float64) if weighted else None
    factor = torch.ones(6).double() if weight is None else F.pad(weight, (0, 1), value=1.0)
    own = F.one_hot(labels, 6)[:, :5].bool()
    p = logits.sigmoid()
    wanted = torch.where(own, -0.25 * (1 - p) ** gamma * p.log(), -0.75 * p**gamma * (1 - p).log())
    out = ops.sigmoid_focal_loss(logits, labels, gamma, 0.25, weight, 'none')
    torch.testing.assert_close(out, wanted * factor[labels, None])
    assert gradcheck(
        lambda x: ops.sigmoid_focal_loss(x, labels, gamma, 0.25, weight, 'mean'), logits
    )

    labels = labels.clamp(max=4)
    p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    out = ops.softmax_focal_loss(logits, labels, gamma, 0.25, weight, 'none')
    torch.testing.assert_close(out, -0.25 * (1 - p) ** gamma * p.log() * factor[labels])
    assert gradcheck(
        lambda x: ops.softmax_focal_loss(x, labels, gamma, 0.25, weight, 'mean'), logits
    )


@pytest.mark.parametrize(('groups', 'deform_groups', 'stride'), [(1, 1, 1), (2, 2, 2)])
def test_deformable_convolutions(ops, groups, deform_groups, stride):
    maps = some_maps(2, 4, 5, 4).requires_grad_()
    weight = some_maps(2, 4 // groups, 3, 3, seed=1).requires_grad_()
    size = (-(-5 // stride), -(-4 // stride))
    offsets = (2 * some_maps(2, 18 * deform_groups, *size, seed=2)).requires_grad_()
    mask = some_maps(2, 9 * deform_groups, *size, seed=3).requires_grad_()
    bias = some_maps(2, seed=4).requires_grad_()
    arrays = [tensor.detach().numpy() for tensor in (maps, offsets, weight)]
    options = dict(padding=1, stride=stride, groups=groups, deform_groups=deform_groups)

    def plain(maps, offsets, weight):
        return ops.deform_conv2d(maps, offsets, weight, stride, 1, 1, groups, deform_groups)

    wanted = loops.deform_conv(*arrays, torch.ones_like(mask).numpy(), **options)
    torch.testing.assert_close(plain(maps, offsets, weight), torch.from_numpy(wanted))
    assert gradcheck(plain, (maps, offsets, weight), fast_mode=True)

    def modulated(*tensors):
        return ops.modulated_deform_conv2d(*tensors, stride, 1, 1, groups, deform_groups)

    wanted = loops.deform_conv(*arrays, mask.detach().numpy(), **options)
    out = modulated(maps, offsets, mask, weight, bias)
    torch.testing.assert_close(out, torch.from_numpy(wanted) + bias.detach()[:, None, None])
    assert gradcheck(modulated, (maps, offsets, mask, weight, bias), fast_mode=True)
    assert gradcheck(lambda *t: modulated(*t, None), (maps, offsets, mask, weight), fast_mode=True)


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
def test_psa_mask(ops, kind):
    masks = some_maps(2, 15, 4, 3).requires_grad_()
    out = ops.PSAMask(kind, (3, 5))(masks)
    wanted = loops.psa_mask(masks.detach().numpy(), (3, 5), kind)
    assert torch.equal(out, torch.from_numpy(wanted))
    assert gradcheck(ops.PSAMask(kind, (3, 5)), masks)


@pytest.mark.parametrize('name', ['carafe', 'carafe_naive'])
def test_carafe(ops, name):
    maps, masks = some_maps(2, 4, 3, 4), some_maps(2, 18, 6, 8, seed=1)
    out = getattr(ops, name)(maps, masks, 3, 2, 2)
    wanted = loops.carafe(maps.numpy(), masks.numpy(), 3, 2, 2)
    torch.testing.assert_close(out, torch.from_numpy(wanted))

    def differentiable(maps, masks):
        unfolded = F.unfold(maps, 3, padding=1).view(2, 2, 2, 9, 3, 4)
        unfolded = unfolded.repeat_interleave(2, 4).repeat_interleave(2, 5)
        return (unfolded * masks.view(2, 2, 1, 9, 6, 8)).sum(3).view(2, 4, 6, 8)

    # mmcv's autograd function takes no CPU tensors in its backward, so the operator is called
    grad = some_maps(2, 4, 6, 8, seed=2)
    _, (of_maps, of_masks) = torch.autograd.functional.vjp(differentiable, (maps, masks), grad)
    got = torch.empty_like(maps), torch.empty_like(masks)
    unused = [torch.empty(0)] * (4 if name == 'carafe' else 0)
    operators.OPERATORS[f'{name}_backward'](grad, maps, masks, *unused, *got, 3, 2, 2)
    torch.testing.assert_close(got[0], of_maps)
    torch.testing.assert_close(got[1], of_masks)


def test_masked_convolution(ops):
    conv = ops.MaskedConv2d(3, 5, (3, 1), padding=(1, 0)).double()
    maps, mask = some_maps(1, 3, 6, 5), some_maps(1, 6, 5, seed=1)
    with torch.no_grad():
        wanted = F.conv2d(maps, conv.weight, conv.bias, padding=(1, 0)) * (mask > 0)
        torch.testing.assert_close(conv(maps, mask), wanted)
        assert torch.count_nonzero(conv(maps, torch.zeros_like(mask))) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_16_bits_are_computed_wide(ops, dtype):
    """Each result is that of float32 for the same numbers, rounded once."""
    maps, rois = some_maps(2, 4, 9, 8).to(dtype), torch.tensor(REGIONS).to(dtype)
    boxes, scores = some_boxes(40, dtype=dtype)
    assert (
        ops.nms(boxes, scores, 0.4)[1].tolist()
        == ops.nms(boxes.float(), scores.float(), 0.4)[1].tolist()
    )
    weight, offsets = some_maps(2, 4, 3, 3).to(dtype), some_maps(2, 18, 9, 8).to(dtype)
    mask, logits = some_maps(2, 9, 9, 8).to(dtype), some_maps(9, 5).to(dtype)
    labels = torch.arange(9) % 5

    def results(convert):
        m, r, w, o, k, x = map(convert, (maps, rois, weight, offsets, mask, logits))
        m, x = m.requires_grad_(), x.requires_grad_()
        for mode in ('avg', 'max'):
            yield ops.roi_align(m, r, (3, 2), 0.5, 2, mode, True), m
        yield ops.roi_pool(m, r, (3, 2), 0.5), m
        yield ops.deform_conv2d(m, o, w, 1, 1), m
        yield ops.modulated_deform_conv2d(m, o, k, w, None, 1, 1), m
        yield ops.sigmoid_focal_loss(x, labels, 2.0, 0.25, None, 'none'), x
        yield ops.PSAMask('collect', (3, 3))(convert(mask)), None

    for (narrow, leaf), (wide, wide_leaf) in zip(
        results(torch.Tensor.clone), results(torch.Tensor.float), strict=True
    ):
        assert narrow.dtype == dtype
        assert torch.equal(narrow, wide.to(dtype))
        if leaf is not None:
            (grad,) = torch.autograd.grad(narrow.sum(), leaf)
            (wide_grad,) = torch.autograd.grad(wide.sum(), wide_leaf)
            torch.testing.assert_close(grad, wide_grad.to(dtype), rtol=0.02, atol=0.02)


def test_empty_inputs(ops):
    none, no_scores = torch.zeros(0, 4), torch.zeros(0)
    assert ops.nms(none, no_scores, 0.5)[1].shape == (0,)
    assert ops.soft_nms(none, no_scores)[1].shape == (0,)
    assert ops.nms_match(torch.zeros(0, 5), 0.5) == []
    assert ops.bbox_overlaps(none, torch.zeros(3, 4)).shape == (0, 3)
    maps = torch.randn(2, 3, 5, 5, requires_grad=True)
    for mode in ('avg', 'max'):
        out = ops.roi_align(maps, torch.zeros(0, 5), (2, 2), 1.0, 0, mode, True)
        assert out.shape == (0, 3, 2, 2)
        out.sum().backward()
    ops.roi_pool(maps, torch.zeros(0, 5), (2, 2)).sum().backward()
    assert torch.count_nonzero(maps.grad) == 0
    logits = torch.zeros(0, 4, requires_grad=True)
    ops.sigmoid_focal_loss(logits, torch.zeros(0).long(), 2.0, 0.25, None, 'sum').backward()
    assert logits.grad.shape == (0, 4)
