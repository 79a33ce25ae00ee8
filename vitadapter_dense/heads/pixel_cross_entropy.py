"""``PixelCrossEntropyLoss``: the loss of segmentation heads, for any labels and class weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

Reduction = Literal['none', 'mean', 'sum']
_EPS = torch.finfo(torch.float32).eps  # as upstream: a batch without labels gives 0


@MODELS.register_module()
class PixelCrossEntropyLoss(nn.Module):
    """``CrossEntropyLoss`` of MMSegmentation, which gives the same wherever that gives a loss.

    MMSegmentation's ends in an error where class weights meet ``avg_non_ignore=True`` and ignored
    labels (a mask of all labels indexes the weights of some), where class weights meet
    ``use_sigmoid=True`` (they are spread over columns, not classes), where pixels are chosen by
    their sigmoid loss, and where a batch for one output has no label at all. The place is
    ``mmseg/models/losses/cross_entropy_loss.py``; open-mmlab/mmsegmentation#1409 brought
    ``avg_non_ignore``.

    Args:
        use_sigmoid: binary cross-entropy of every output, else softmax over them.
        reduction: over the pixels.
        class_weight: of each output; for one output with ``use_sigmoid``, of class 1.
        loss_weight: factor of the loss.
        loss_name: in the log; a loss without ``loss_`` in front is not trained.
        avg_non_ignore: the mean is over the pixels that are not ignored. With softmax and class
            weights it always is, by the weights of their classes, as in torch.

    Raises:
        ValueError: an unknown reduction, or weights that are not numbers.
    """

    def __init__(
        self,
        use_sigmoid: bool = False,
        reduction: Reduction = 'mean',
        *,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
        avg_non_ignore: bool = False,
    ) -> None:
        super().__init__()
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(f"reduction={reduction!r}; choose 'none', 'mean' or 'sum'")
        if isinstance(class_weight, str):
            raise ValueError(f'class_weight={class_weight!r} is no list; write the numbers out')
        self.use_sigmoid, self.reduction = use_sigmoid, reduction
        self.class_weight = None if class_weight is None else [float(w) for w in class_weight]
        self.loss_weight, self.loss_name = loss_weight, loss_name
        self.avg_non_ignore = avg_non_ignore

    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: Reduction | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """The loss.

        Args:
            scores: ``(B, C, H, W)`` logits.
            labels: ``(B, H, W)`` class numbers; for one output 0 or 1.
            weight: ``(B, H, W)`` of each pixel.
            avg_factor: by which the sum is divided instead.
            reduction_override: in place of ``reduction``; ``'none'`` gives ``(B, H, W)``.
            ignore_index: label of pixels that do not count.

        Raises:
            ValueError: a label above 1 for one output.
        """
        if scores.dtype in (torch.float16, torch.bfloat16):  # sums over pixels would overflow
            scores = scores.float()
        weights = None if self.class_weight is None else scores.new_tensor(self.class_weight)
        compute = self._sigmoid if self.use_sigmoid else self._softmax
        loss, count = compute(scores, labels.long(), weights, ignore_index)
        if weight is not None:
            loss = loss * weight.float()
        reduction = reduction_override or self.reduction
        if reduction == 'mean':
            loss = loss.sum() / ((count if avg_factor is None else avg_factor) + _EPS)
        elif reduction == 'sum':
            loss = loss.sum()
        return self.loss_weight * loss

    def _softmax(
        self, scores: Tensor, labels: Tensor, class_weight: Tensor | None, ignore_index: int
    ) -> tuple[Tensor, Tensor | int]:
        """Loss of each pixel, and what its mean is divided by."""
        loss = F.cross_entropy(
            scores, labels, weight=class_weight, reduction='none', ignore_index=ignore_index
        )
        labelled = labels != ignore_index
        if class_weight is not None:
            return loss, class_weight[labels[labelled]].sum()
        return loss, labelled.sum() if self.avg_non_ignore else labels.numel()

    def _sigmoid(
        self, scores: Tensor, labels: Tensor, class_weight: Tensor | None, ignore_index: int
    ) -> tuple[Tensor, Tensor | int]:
        """The same; an ignored pixel, or a label below 0, is of no class."""
        labelled = (labels >= 0) & (labels != ignore_index)
        filled = labels.where(labelled, 0)
        outputs = scores.shape[1]
        if outputs == 1:
            if filled.numel() and filled.max() > 1:
                raise ValueError(f'label {int(filled.max())} for one output, which takes 0 and 1')
            targets = filled[:, None]  # (B, 1, H, W)
        else:
            targets = F.one_hot(filled, outputs).movedim(-1, 1)  # (B, C, H, W)
        if class_weight is not None:
            class_weight = class_weight[:, None, None]
        loss = F.binary_cross_entropy_with_logits(
            scores, targets.to(scores.dtype), pos_weight=class_weight, reduction='none'
        )
        loss = loss.sum(dim=1) * labelled
        return loss, outputs * (labelled.sum() if self.avg_non_ignore else labels.numel())
