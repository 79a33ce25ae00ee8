"""``StepLosses``: what a tuning method adds to the loss, between its forward pass and the step."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class StepLosses:
    """Named losses of the last forward pass in training, until the step takes them.

    They belong to one pass: copies and saved models have none of them.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def keep(self, losses: dict[str, Tensor]) -> None:
        """Puts those of a forward pass in the place of what was not taken."""
        self._kept = losses

    def take(self) -> dict[str, Tensor]:
        """Hands them out, once."""
        kept, self._kept = self._kept, {}
        return kept

    def __reduce__(self) -> tuple[Any, ...]:
        return StepLosses, ()
