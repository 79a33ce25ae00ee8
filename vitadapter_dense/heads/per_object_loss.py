"""``PerObjectLoss``: a loss for each object, also of a batch that has none.

MMDetection's Sparse R-CNN divides the loss of its classes by the number of objects (mmdet,
models/roi_heads/bbox_heads/dii_head.py), which is 0 where random crops have left none: the loss is
then millions of times what it should be, and so are the moments of the optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class PerObjectLoss(nn.Module):
    """A loss of MMDetection's, divided by one where there are fewer objects, as DETRs do.

    Args:
        loss: its config.
    """

    def __init__(self, loss: Mapping[str, Any]) -> None:
        super().__init__()
        self.loss = MODELS.build(dict(loss))
        self.use_sigmoid: bool = getattr(self.loss, 'use_sigmoid', False)  # heads ask for it

    def forward(
        self, *args: Any, avg_factor: Tensor | float | None = None, **kwargs: Any
    ) -> Tensor:
        """The loss; ``avg_factor`` is the number of objects."""
        if avg_factor is not None:
            avg_factor = torch.as_tensor(avg_factor).clamp(min=1)
        return self.loss(*args, avg_factor=avg_factor, **kwargs)
