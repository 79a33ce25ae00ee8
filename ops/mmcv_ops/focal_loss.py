"""Focal loss (Lin et al., https://arxiv.org/abs/1708.02002), forward and analytic gradient.

``weight`` is a factor a class, or empty. A label outside of the classes is background: no class is
its own, and no class weight is its.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcv_ops.precision import wide

_LOG_TINY = math.log(torch.finfo(torch.float32).tiny)


def _of_labels(weight: Tensor, target: Tensor) -> Tensor | None:
    if weight.numel() == 0:
        return None
    known = (target >= 0) & (target < len(weight))
    return torch.where(known, weight[target.clamp(0, len(weight) - 1)], 1.0)


def _own_class(target: Tensor, classes: int) -> Tensor:
    """``(N, classes)``: which class is a row's own; none for background."""
    return target[:, None] == torch.arange(classes, device=target.device)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Writes the loss of every score.

    Args:
        input: logits ``(N, C)``.
        target: labels ``(N,)``.
        weight: ``(C,)`` or empty.
        output: ``(N, C)``.
        gamma: exponent.
        alpha: share of the label's own class.
    """
    x = wide(input)
    own = _own_class(target, x.shape[1])
    p = x.sigmoid()
    log_p, log_rest = (F.logsigmoid(value).clamp(min=_LOG_TINY) for value in (x, -x))
    loss = torch.where(
        own, -alpha * (1 - p).pow(gamma) * log_p, (alpha - 1) * p.pow(gamma) * log_rest
    )
    factor = _of_labels(weight, target)
    output.copy_(loss if factor is None else loss * factor[:, None])


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Writes the derivative of every score's loss; arguments as in the forward."""
    x = wide(input)
    own = _own_class(target, x.shape[1])
    p = x.sigmoid()
    log_p, log_rest = (F.logsigmoid(value).clamp(min=_LOG_TINY) for value in (x, -x))
    of_own = -alpha * (1 - p).pow(gamma) * (1 - p - gamma * p * log_p)
    of_rest = (alpha - 1) * p.pow(gamma) * (gamma * (1 - p) * log_rest - p)
    grad = torch.where(own, of_own, of_rest)
    factor = _of_labels(weight, target)
    grad_input.copy_(grad if factor is None else grad * factor[:, None])


def _chosen(softmax: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of each label, and which labels there are."""
    known = (target >= 0) & (target < softmax.shape[1])
    index = target.clamp(0, max(softmax.shape[1] - 1, 0))[:, None]
    return softmax.gather(1, index)[:, 0], known


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Writes the loss of every row.

    Args:
        input: probabilities ``(N, C)``, after the softmax.
        target: labels ``(N,)``.
        weight: ``(C,)`` or empty.
        output: ``(N,)``.
        gamma: exponent.
        alpha: factor.
    """
    p, known = _chosen(wide(input), target)
    loss = -alpha * (1 - p).pow(gamma) * p.log().clamp(min=_LOG_TINY)
    factor = _of_labels(weight, target)
    output.copy_(torch.where(known, loss if factor is None else loss * factor, 0.0))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Writes the derivative by the logits, ``(N, C)``; ``buff`` is not needed."""
    softmax = wide(input)
    p, known = _chosen(softmax, target)
    log_p = p.log().clamp(min=_LOG_TINY)
    # (1 - p) ** (gamma - 1) is infinite at p = 1 for gamma < 1, where p times it has the limit 0
    rest = 1 - p
    slope = torch.where(rest > 0, rest.pow(gamma - 1), 0.0)
    by_p = alpha * (gamma * slope * p * log_p - rest.pow(gamma))
    factor = _of_labels(weight, target)
    by_p = torch.where(known, by_p if factor is None else by_p * factor, 0.0)
    own = _own_class(target, softmax.shape[1])
    grad_input.copy_(by_p[:, None] * (own.to(softmax) - softmax))
