"""``DropPath``: stochastic depth (https://arxiv.org/abs/1603.09382), one decision a sample."""

from __future__ import annotations

from torch import Tensor, nn


class DropPath(nn.Module):
    """Drops a residual branch of whole samples while training, and scales what is kept.

    Args:
        rate: probability of dropping, from 0 to 1.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """``(B, ...)`` -> the same shape."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1 - self.rate
        kept = x.new_empty(x.shape[0], *[1] * (x.dim() - 1)).bernoulli_(keep)
        return x * (kept / keep if keep > 0 else kept)

    def extra_repr(self) -> str:
        return f'rate={self.rate}'
