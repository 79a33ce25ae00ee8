"""Deformable convolutions (Dai et al., https://arxiv.org/abs/1703.06211; Zhu et al.,
https://arxiv.org/abs/1811.11168) from torchvision, which lays out offsets and masks as mmcv does.

mmcv's buffers (``columns``, ``ones``) and its ``im2col_step`` are not needed. As in mmcv, a sample
at an offset that is not a number counts as one outside of the map.
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from mmcv_ops.precision import wide

_FAR = 1e6  # outside of any map


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Writes ``output (B, C', H', W')``.

    Args:
        input: ``(B, C, H, W)``.
        weight: ``(C', C / group, kH, kW)``.
        offset: ``(B, 2 * deformable_group * kH * kW, H', W')``, pairs (y, x).
        output: written.
        columns: not used.
        ones: not used.
        kW: width of the kernel.
        kH: height of the kernel.
        dW: stride.
        dH: stride.
        padW: zeros left and right.
        padH: zeros above and below.
        dilationW: dilation.
        dilationH: dilation.
        group: groups of channels.
        deformable_group: groups with offsets of their own.
        im2col_step: not used.
    """
    _check(input, weight, offset, group, deformable_group)
    output.copy_(
        torchvision.ops.deform_conv2d(
            wide(input),
            _wide_finite(offset),
            wide(weight),
            stride=(dH, dW),
            padding=(padH, padW),
            dilation=(dilationH, dilationW),
        )
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Writes ``grad_input`` and ``grad_offset``; arguments as in the forward."""
    of_input, _, of_offset, _, _ = _gradients(
        grad_output,
        input,
        weight,
        offset,
        geometry=(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group),
    )
    grad_input.copy_(of_input)
    grad_offset.copy_(of_offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Adds ``scale`` times the weight's gradient to ``grad_weight``."""
    _, of_weight, _, _, _ = _gradients(
        grad_output,
        input,
        grad_weight,  # for its shape: the weight's own gradient does not depend on the weight
        offset,
        geometry=(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group),
    )
    grad_weight.add_(of_weight.to(grad_weight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """As :func:`deform_conv_forward`, with a factor a sample and a bias.

    Args:
        input: ``(B, C, H, W)``.
        weight: ``(C', C / group, kernel_h, kernel_w)``.
        bias: ``(C',)``.
        ones: not used.
        offset: ``(B, 2 * deformable_group * kernel_h * kernel_w, H', W')``, pairs (y, x); for
            larger ones see :func:`_as_read`.
        mask: ``(B, deformable_group * kernel_h * kernel_w, H', W')``; likewise.
        output: ``(B, C', H', W')``, written.
        columns: not used.
        kernel_h: height of the kernel.
        kernel_w: width of the kernel.
        stride_h: stride.
        stride_w: stride.
        pad_h: zeros above and below.
        pad_w: zeros left and right.
        dilation_h: dilation.
        dilation_w: dilation.
        group: groups of channels.
        deformable_group: groups with offsets of their own.
        with_bias: add the bias.
    """
    _check(input, weight, offset, group, deformable_group)
    output.copy_(
        torchvision.ops.deform_conv2d(
            wide(input),
            _wide_finite(_as_read(offset, output)),
            wide(weight),
            wide(bias) if with_bias else None,
            stride=(stride_h, stride_w),
            padding=(pad_h, pad_w),
            dilation=(dilation_h, dilation_w),
            mask=wide(_as_read(mask, output)),
        )
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Writes all five gradients; arguments as in the forward."""
    gradients = _gradients(
        grad_output,
        input,
        weight,
        _as_read(offset, grad_output),
        _as_read(mask, grad_output),
        geometry=(
            stride_h,
            stride_w,
            pad_h,
            pad_w,
            dilation_h,
            dilation_w,
            group,
            deformable_group,
        ),
    )
    targets = (grad_input, grad_weight, grad_offset, grad_mask)
    for target, gradient in zip(targets, gradients[:4], strict=True):
        unread = target[0].numel() - gradient[0].numel()
        target.copy_(F.pad(gradient.flatten(1), (0, unread)).view_as(target))
    if with_bias:
        grad_bias.copy_(gradients[4])


def _as_read(maps: Tensor, output: Tensor) -> Tensor:
    """Offsets or masks as mmcv's kernel reads those that are larger than the output.

    It walks through the memory of an image in steps of the output's size, and never looks at their
    own. MMDetection's DyHead gives a coarse level the offsets of a finer one, so its released
    weights were trained with that.
    """
    batch, channels, height, width = maps.shape
    size = output.shape[2:]
    count = channels * size.numel()
    if maps.shape[2:] == size or channels * height * width < count:
        return maps  # too few are refused by torchvision
    return maps.flatten(1)[:, :count].view(batch, channels, *size)


def _check(input: Tensor, weight: Tensor, offset: Tensor, groups: int, deform_groups: int) -> None:
    """Refuses group numbers other than those of the shapes, from which torchvision takes them."""
    channels, offsets = weight.shape[1] * groups, 2 * deform_groups * weight[0, 0].numel()
    if (input.shape[1], offset.shape[1]) != (channels, offsets):
        raise ValueError(
            f'a weight of {tuple(weight.shape)} in {groups} groups with {deform_groups} groups of '
            f'offsets takes {channels} channels and {offsets} offsets, not {input.shape[1]} and '
            f'{offset.shape[1]}'
        )


def _wide_finite(offset: Tensor) -> Tensor:
    """torchvision's CPU kernel reads outside of the map at an offset that is not a number."""
    return wide(offset).nan_to_num(nan=_FAR, posinf=_FAR, neginf=-_FAR)


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None = None,
    *,
    geometry: tuple[int, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients by input, weight, offset, mask and bias.

    Args:
        grad_output: ``(B, C', H', W')``.
        input: as in the forward.
        weight: as in the forward.
        offset: as in the forward.
        mask: as in the forward; ``None``: ones.
        geometry: strides, padding, dilation (height first), groups, deformable groups.
    """
    bias = wide(weight).new_zeros(weight.shape[0])
    use_mask = mask is not None
    factor = wide(mask) if use_mask else wide(input).new_zeros(len(input), 1)
    return torch.ops.torchvision._deform_conv2d_backward(
        wide(grad_output).contiguous(),
        wide(input),
        wide(weight),
        _wide_finite(offset),
        factor,
        bias,
        *geometry,
        use_mask,
    )
