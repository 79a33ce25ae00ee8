"""The operators on a GPU: what they give on the CPU, in every width, on any stream.

Where there is no GPU, fake tensors of one show at least that nothing is made or read elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

WIDTHS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
REGIONS = [[0, 1.3, 2.2, 15.1, 13.7], [1, 3.3, 1.1, 13.2, 18.0], [0, -4.0, 0.2, 5.0, 6.0]]

# name -> shapes of what gradients are asked of, and the call; `rois` and `labels` are given
DIFFERENTIABLE: dict[str, tuple[list[tuple[int, ...]], Callable]] = {
    'roi_align': ([(2, 4, 9, 8)], lambda o, x, rois, _: o.roi_align(x, rois, (3, 2), 0.5, 2)),
    'roi_align, any samples': (
        [(2, 4, 9, 8)],
        lambda o, x, rois, _: o.roi_align(x, rois, (3, 2), 0.5, 0, 'avg', False),
    ),
    'roi_align, maximum': (
        [(2, 4, 9, 8)],
        lambda o, x, rois, _: o.roi_align(x, rois, (3, 2), 0.5, 2, 'max', True),
    ),
    'roi_pool': ([(2, 4, 9, 8)], lambda o, x, rois, _: o.roi_pool(x, rois, (3, 2), 0.5)),
    'deform_conv2d': (
        [(2, 4, 9, 8), (2, 36, 9, 8), (6, 2, 3, 3)],
        lambda o, x, offsets, weight, *_: o.deform_conv2d(x, offsets, weight, 1, 1, 1, 2, 2),
    ),
    'modulated_deform_conv2d': (
        [(2, 4, 9, 8), (2, 18, 9, 8), (2, 9, 9, 8), (6, 4, 3, 3), (6,)],
        lambda o, *t: o.modulated_deform_conv2d(*t[:5], 1, 1, 1, 1, 1),
    ),
    'sigmoid_focal_loss': (
        [(9, 5)],
        lambda o, x, _, labels: o.sigmoid_focal_loss(x, labels, 2.0, 0.25, None, 'none'),
    ),
    'softmax_focal_loss': (
        [(9, 5)],
        lambda o, x, _, labels: o.softmax_focal_loss(x, labels, 2.0, 0.25, None, 'none'),
    ),
    'psamask': ([(2, 15, 4, 3)], lambda o, x, *_: o.PSAMask('collect', (3, 5))(x)),
    'carafe': (
        [(2, 4, 3, 4), (2, 18, 6, 8)],
        lambda o, x, masks, *_: o.carafe(x, masks, 3, 2, 2),
    ),
    'carafe_naive': (
        [(2, 4, 3, 4), (2, 18, 6, 8)],
        lambda o, x, masks, *_: o.carafe_naive(x, masks, 3, 2, 2),
    ),
}


def inputs(shapes, dtype, device):
    """The same numbers on every device."""
    generator = torch.Generator().manual_seed(1)
    leaves = [
        torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
        for shape in shapes
    ]
    rois = torch.tensor(REGIONS).to(device, dtype)
    return leaves, rois, (torch.arange(9) % 5).to(device)


def results(ops, name, dtype, device):
    shapes, call = DIFFERENTIABLE[name]
    leaves, *given = inputs(shapes, dtype, device)
    out = call(ops, *leaves, *given)
    return [out, *torch.autograd.grad(out.square().sum(), leaves)]


@pytest.mark.parametrize('name', [name for name in DIFFERENTIABLE if name != 'roi_pool'])
def test_nothing_leaves_the_device(ops, name):
    """Under a mode that computes shapes and devices alone, and refuses two devices in one step.

    Forward alone, since autograd asks for a real device; and not max pooling, which reads how large
    each region is.
    """
    shapes, call = DIFFERENTIABLE[name]
    with FakeTensorMode():
        leaves = [torch.empty(shape, device='cuda') for shape in shapes]
        given = torch.empty(3, 5, device='cuda'), torch.empty(9, device='cuda', dtype=torch.long)
        out = call(ops, *leaves, *given)
    assert out.device.type == 'cuda'


@pytest.mark.cuda
@pytest.mark.parametrize('dtype', WIDTHS)
@pytest.mark.parametrize('name', DIFFERENTIABLE)
def test_values_and_gradients_are_those_of_the_cpu(ops, name, dtype):
    if name.startswith('carafe'):
        expected = carafe_on_the_cpu(dtype)
    else:
        expected = results(ops, name, dtype, 'cpu')
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        found = results(ops, name, dtype, 'cuda')
    stream.synchronize()
    tolerance = {torch.float64: 1e-9, torch.float32: 2e-4}.get(dtype, 3e-2)
    for there, here in zip(found, expected, strict=True):
        assert there.dtype == here.dtype == dtype
        torch.testing.assert_close(there.cpu(), here, rtol=tolerance, atol=tolerance)


def carafe_on_the_cpu(dtype):
    """By unfolding: mmcv's function takes no CPU tensors in its backward pass."""
    (maps, masks), *_ = inputs(DIFFERENTIABLE['carafe'][0], torch.float64, 'cpu')
    maps, masks = (t.detach().to(dtype).double().requires_grad_() for t in (maps, masks))
    unfolded = F.unfold(maps, 3, padding=1).view(2, 2, 2, 9, 3, 4)
    unfolded = unfolded.repeat_interleave(2, 4).repeat_interleave(2, 5)
    out = (unfolded * masks.view(2, 2, 1, 9, 6, 8)).sum(3).view(2, 4, 6, 8)
    grads = torch.autograd.grad(out.square().sum(), (maps, masks))
    return [tensor.to(dtype) for tensor in (out, *grads)]


@pytest.mark.cuda
@pytest.mark.parametrize('dtype', WIDTHS)
def test_boxes_are_chosen_as_on_the_cpu(ops, dtype):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(200, 4, generator=generator) * 40
    boxes[:, 2:] = boxes[:, :2] + 2 + boxes[:, 2:] / 2
    boxes, scores = boxes.to(dtype), torch.rand(200, generator=generator).to(dtype)
    there = boxes.cuda(), scores.cuda()
    for offset in (0, 1):
        here = ops.nms(boxes, scores, 0.4, offset=offset)
        found = ops.nms(*there, 0.4, offset=offset)
        assert found[1].device.type == 'cuda'
        assert torch.equal(found[1].cpu(), here[1])
        assert torch.equal(found[0].cpu(), here[0])
    labels = torch.arange(200) % 3
    config = dict(type='nms', iou_threshold=0.4)
    here = ops.batched_nms(boxes, scores, labels, config)
    found = ops.batched_nms(*there, labels.cuda(), config)
    assert torch.equal(found[1].cpu(), here[1])
    overlaps = ops.bbox_overlaps(there[0], there[0]).cpu()
    torch.testing.assert_close(overlaps, ops.bbox_overlaps(boxes, boxes), rtol=1e-2, atol=1e-2)
    if dtype == torch.float32:  # mmcv moves these two to the CPU
        assert torch.equal(ops.soft_nms(*there)[1].cpu(), ops.soft_nms(boxes, scores)[1])
        together = torch.cat([boxes, scores[:, None]], 1)
        groups = zip(ops.nms_match(together.cuda(), 0.4), ops.nms_match(together, 0.4), strict=True)
        assert all(torch.equal(found.cpu(), here) for found, here in groups)


@pytest.mark.cuda
def test_nothing_on_a_gpu(ops):
    none = torch.zeros(0, 4, device='cuda')
    assert ops.nms(none, none[:, 0], 0.5)[1].shape == (0,)
    maps = torch.randn(2, 3, 5, 5, device='cuda', requires_grad=True)
    rois = torch.zeros(0, 5, device='cuda')
    for mode in ('avg', 'max'):
        ops.roi_align(maps, rois, (2, 2), 1.0, 0, mode, True).sum().backward()
    ops.roi_pool(maps, rois, (2, 2)).sum().backward()
    assert torch.count_nonzero(maps.grad) == 0
