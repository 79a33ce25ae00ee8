"""``LogitAdjustedLoss``: cross-entropy for long-tailed classes.

Logit adjustment (Menon et al., ICLR 2021, https://arxiv.org/abs/2007.07314, equation 10): the loss
sees every logit raised by ``tau * log(share of the class)``, so that the logits themselves, with
which classes are predicted, are those for classes of equal share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class LogitAdjustedLoss(nn.Module):
    """Cross-entropy of logits that are raised by the logarithm of the classes' shares.

    The shares are those of the training set: ``ClassCountsHook`` counts it before the first step
    (``custom_hooks = [dict(type='ClassCountsHook')]``), and they travel in the checkpoint.

    Args:
        num_classes: as the head has.
        tau: strength of the adjustment; 0 is plain cross-entropy, 1 the paper's.
        loss_weight: factor of the loss.
    """

    def __init__(self, num_classes: int, *, tau: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.num_classes, self.tau, self.loss_weight = num_classes, tau, loss_weight
        self.register_buffer('log_shares', torch.full((num_classes,), torch.nan))

    def set_counts(self, counts: Sequence[int]) -> None:
        """Takes the images of each class.

        Raises:
            ValueError: another number of classes, or one without images.
        """
        if len(counts) != self.num_classes:
            raise ValueError(
                f'the data set has {len(counts)} classes, LogitAdjustedLoss num_classes='
                f'{self.num_classes}: give both the same'
            )
        if min(counts) < 1:
            number = min(range(len(counts)), key=lambda label: counts[label])
            raise ValueError(
                f'class {number} has no image to train on: its logit cannot be adjusted. Take the '
                f'class out, or use CrossEntropyLoss'
            )
        shares = torch.tensor(list(counts), dtype=torch.float64)
        self.log_shares.copy_((shares / shares.sum()).log())

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: int | None = None,
    ) -> Tensor:
        """Logits ``(B, C)``, labels ``(B,)`` or shares of labels ``(B, C)`` -> their loss.

        Raises:
            ValueError: nobody has counted the classes.
        """
        if not torch.compiler.is_compiling() and self.log_shares.isnan().any():
            raise ValueError(
                "LogitAdjustedLoss has no counts of the classes: add dict(type='ClassCountsHook') "
                'to custom_hooks, which counts the training set'
            )
        losses = F.cross_entropy(logits + self.tau * self.log_shares, target, reduction='none')
        if weight is not None:
            losses = losses * weight
        return self.loss_weight * losses.sum() / (avg_factor or len(losses))
