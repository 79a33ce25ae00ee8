"""CARAFE, upsampling with a kernel for every place (Wang et al., https://arxiv.org/abs/1905.02188).

Every place of the large map is a weighted sum of the k x k neighbours of its place on the small
one. mmcv's two variants differ in speed alone; here they are one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcv_ops.precision import as_given, wide


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Writes the upsampled map.

    Args:
        features: ``(B, C, H, W)``.
        masks: ``(B, group_size * kernel_size ** 2, s * H, s * W)``.
        output: ``(B, C, s * H, s * W)``, written.
        kernel_size: k, odd.
        group_size: groups of channels, each with kernels of its own.
        scale_factor: s.
    """
    neighbours = _neighbours(wide(features), kernel_size, group_size)
    kernels = _kernels(wide(masks), group_size, scale_factor)
    with as_given(features):
        summed = torch.einsum('ngckhw,ngkhawb->ngchawb', neighbours, kernels)
    output.copy_(summed.reshape(output.shape))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Writes both gradients; arguments as in the forward."""
    batch, channels, height, width = features.shape
    grad = wide(grad_output).view(
        batch, group_size, channels // group_size, height, scale_factor, width, scale_factor
    )
    neighbours = _neighbours(wide(features), kernel_size, group_size)
    kernels = _kernels(wide(masks), group_size, scale_factor)
    with as_given(features):
        of_kernels = torch.einsum('ngchawb,ngckhw->ngkhawb', grad, neighbours)
        of_neighbours = torch.einsum('ngchawb,ngkhawb->ngckhw', grad, kernels)
    grad_masks.copy_(of_kernels.reshape(grad_masks.shape))
    grad_input.copy_(
        F.fold(
            of_neighbours.reshape(batch, -1, height * width),
            (height, width),
            kernel_size,
            padding=(kernel_size - 1) // 2,
        )
    )


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """As :func:`carafe_naive_forward`; ``rfeatures`` keeps the features for the backward."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """As :func:`carafe_naive_backward`."""
    sizes = (kernel_size, group_size, scale_factor)
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, *sizes)


def _neighbours(features: Tensor, kernel_size: int, groups: int) -> Tensor:
    """``(B, C, H, W)`` -> ``(B, groups, C / groups, k * k, H, W)``."""
    unfolded = F.unfold(features, kernel_size, padding=(kernel_size - 1) // 2)
    return unfolded.unflatten(2, features.shape[2:]).unflatten(
        1, (groups, features.shape[1] // groups, kernel_size**2)
    )


def _kernels(masks: Tensor, groups: int, scale: int) -> Tensor:
    """``(B, groups * k * k, s * H, s * W)`` -> ``(B, groups, k * k, H, s, W, s)``."""
    return masks.unflatten(3, (-1, scale)).unflatten(2, (-1, scale)).unflatten(1, (groups, -1))
