"""Against mmcv's own compiled operators, on the CPU and a GPU, where a compiled mmcv is there."""

from __future__ import annotations

import importlib

import pytest
import torch

import mmcv_ops
from mmcv_ops import operators

pytest.importorskip('mmcv')
extension = importlib.import_module('mmcv._ext')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not mmcv_ops.is_compiled(), reason='this mmcv has no compiled operators'),
]


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def place(request):
    return request.param


def both(name, place, *arguments, **options):
    """Runs an operator of either kind on copies; the arguments after it, and what it gives."""
    results = []
    for operator in (getattr(extension, name), operators.OPERATORS[name]):
        copies = [a.to(place, copy=True) if isinstance(a, torch.Tensor) else a for a in arguments]
        given = operator(*copies, **options)
        found = [*(c for c in copies if isinstance(c, torch.Tensor)), given]
        results.append([f.cpu() if isinstance(f, torch.Tensor) else f for f in found])
    return results


def compare(name, place, *arguments, exact=False, **options):
    for theirs, ours in zip(*both(name, place, *arguments, **options), strict=True):
        if isinstance(theirs, torch.Tensor):
            close = dict(rtol=1e-5, atol=1e-5) if place == 'cpu' else dict(rtol=1e-4, atol=1e-4)
            tolerance = dict(rtol=0, atol=0) if exact else close
            torch.testing.assert_close(ours, theirs, **tolerance)
        else:
            assert ours == theirs


def boxes_and_scores(count):
    boxes = torch.rand(count, 4) * 300
    boxes[:, 2:] = boxes[:, :2] + 5 + boxes[:, 2:] / 2
    return boxes, torch.rand(count)


@pytest.mark.parametrize('offset', [0, 1])
def test_boxes(place, offset):
    boxes, scores = boxes_and_scores(800)
    compare('nms', place, boxes, scores, iou_threshold=0.5, offset=offset, exact=True)
    for mode in (0, 1):
        others = boxes_and_scores(90)[0]
        sizes = dict(mode=mode, aligned=False, offset=offset)
        compare('bbox_overlaps', place, boxes, others, torch.empty(800, 90), **sizes)
    if place != 'cpu':  # mmcv calls the other two for the CPU alone
        return
    options = dict(iou_threshold=0.4, sigma=0.5, min_score=0.05, offset=offset)
    for method in (0, 1, 2):
        (*_, dets, kept), (*_, our_dets, our_kept) = both(
            'softnms', place, boxes, scores, torch.empty(800, 5), method=method, **options
        )
        assert our_kept.tolist() == kept.tolist()
        torch.testing.assert_close(our_dets[: len(kept)], dets[: len(kept)])
    compare('nms_match', place, torch.cat([boxes, scores[:, None]], 1), iou_threshold=0.5)


@pytest.mark.parametrize('pool_mode', [0, 1])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('bins', [7, 14])
def test_roi_align(place, pool_mode, sampling_ratio, aligned, bins):
    """The mean is equal bit for bit on the CPU, forward and backward."""
    maps, (boxes, _) = torch.randn(2, 8, 50, 60), boxes_and_scores(60)
    rois = torch.cat([torch.randint(2, (60, 1)), boxes], 1)
    options = dict(
        aligned_height=bins,
        aligned_width=bins,
        spatial_scale=0.125,
        sampling_ratio=sampling_ratio,
        pool_mode=pool_mode,
        aligned=aligned,
    )
    out = torch.zeros(60, 8, bins, bins)
    (theirs, ours) = both('roi_align_forward', place, maps, rois, out, out, out, **options)
    mean = pool_mode == 1 and place == 'cpu'
    exact = dict(rtol=0, atol=0) if mean else dict(rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours[2], theirs[2], **exact)
    if pool_mode == 0:  # either kind notes the place of a maximum in its own way
        gradients = []
        for kind, saved in ((extension, theirs), (None, ours)):
            backward = getattr(
                kind, 'roi_align_backward', operators.OPERATORS['roi_align_backward']
            )
            grad = torch.zeros_like(maps, device=place)
            given = [tensor.to(place) for tensor in (torch.ones_like(out), rois, *saved[3:5])]
            backward(*given, grad, **options)
            gradients.append(grad.cpu())
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
        return
    given = torch.randn_like(out), rois, out, out, torch.zeros_like(maps)
    compare('roi_align_backward', place, *given, exact=mean, **options)


@pytest.mark.parametrize('larger', [1, 2])
def test_deformable_convolutions(place, larger):
    maps, weight = torch.randn(2, 8, 12, 10), torch.randn(6, 4, 3, 3)
    offset = torch.randn(2, 36, 12 * larger, 10 * larger)
    mask = torch.rand(2, 18, 12 * larger, 10 * larger)
    out, none, bias = torch.zeros(2, 6, 12, 10), torch.empty(0), torch.randn(6)
    grad = torch.randn_like(out)
    sizes = dict(kW=3, kH=3, dW=1, dH=1, padW=1, padH=1, dilationW=1, dilationH=1)
    sizes |= dict(group=2, deformable_group=2, im2col_step=2)
    zeros = [torch.zeros_like(tensor) for tensor in (maps, offset, weight, mask, bias)]
    for name, arguments, extra in (
        ('deform_conv_forward', (maps, weight, offset, out, none, none), {}),
        ('deform_conv_backward_input', (maps, offset, grad, *zeros[:2], weight, none), {}),
        (
            'deform_conv_backward_parameters',
            (maps, offset, grad, zeros[2], none, none),
            {'scale': 1},
        ),
    ):
        if larger > 1:  # refused, by mmcv, too
            continue
        theirs, ours = both(name, place, *arguments, **sizes, **extra)
        for got, wanted in zip(ours, theirs, strict=True):
            if wanted is not None and wanted.shape == got.shape:
                torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    sizes = dict(kernel_h=3, kernel_w=3, stride_h=1, stride_w=1, pad_h=1, pad_w=1)
    sizes |= dict(dilation_h=1, dilation_w=1, group=2, deformable_group=2, with_bias=True)
    gradients = (zeros[0], zeros[2], zeros[4], zeros[1], zeros[3])
    for name, arguments in (
        ('modulated_deform_conv_forward', (maps, weight, bias, none, offset, mask, out, none)),
        (
            'modulated_deform_conv_backward',
            (maps, weight, bias, none, offset, mask, none, *gradients, grad),
        ),
    ):
        theirs, ours = both(name, place, *arguments, **sizes)
        for got, wanted in zip(ours, theirs, strict=True):
            if wanted is not None and wanted.shape == got.shape:
                torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('psa_type', [0, 1])
def test_psa_mask(place, psa_type):
    masks, out = torch.randn(2, 35, 6, 5), torch.zeros(2, 30, 6, 5)
    sizes = dict(num_=2, h_feature=6, w_feature=5, h_mask=7, w_mask=5, half_h_mask=3, half_w_mask=2)
    compare('psamask_forward', place, masks, out, psa_type=psa_type, exact=True, **sizes)
    grad = torch.randn_like(out)
    zeros = torch.zeros_like(masks)
    compare('psamask_backward', place, grad, zeros, psa_type=psa_type, exact=True, **sizes)


@pytest.mark.cuda
def test_what_mmcv_has_for_cuda_alone(request):
    import mmcv.ops

    torch.manual_seed(0)
    maps, masks = torch.randn(2, 8, 6, 7), torch.rand(2, 50, 12, 14)
    logits, labels, weight = torch.randn(300, 20), torch.randint(20, (300,)), torch.rand(20)
    labels, weight = labels.cuda(), weight.cuda()
    cases = [
        (lambda m, k: mmcv.ops.carafe(m, k, 5, 2, 2), (maps, masks)),
        (lambda m, k: mmcv.ops.carafe_naive(m, k, 5, 2, 2), (maps, masks)),
        (lambda x: mmcv.ops.sigmoid_focal_loss(x, labels, 2.0, 0.25, weight, 'sum'), (logits,)),
        (lambda x: mmcv.ops.softmax_focal_loss(x, labels, 2.0, 0.25, weight, 'sum'), (logits,)),
    ]

    def results():
        for function, tensors in cases:
            leaves = [tensor.cuda().requires_grad_() for tensor in tensors]
            out = function(*leaves)
            yield from (out, *torch.autograd.grad(out.square().sum(), leaves))

    theirs = list(results())
    request.getfixturevalue('ops')  # from here on mmcv calls ours
    for got, wanted in zip(results(), theirs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
