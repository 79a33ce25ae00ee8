"""The sizes of images that an exported file takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.export import Dim

_SMALLEST, _LARGEST = 64, 4096  # pixels a side
_MOST_IMAGES = 64


@dataclass(frozen=True)
class Sizes:
    """One size, or all from 64 to 4096 pixels a side; and how many images at once.

    Args:
        fixed: (height, width), or None for all sizes.
        divisor: sizes are multiples of it; 1 for a model that computes at any.
        batches: any number of images at once; else one.
        smallest: pixels a side, of all sizes.

    Raises:
        ValueError: a size that is no multiple of the divisor.
    """

    fixed: tuple[int, int] | None = None
    divisor: int = 32
    batches: bool = True
    smallest: int = _SMALLEST

    def __post_init__(self) -> None:
        if self.fixed is None:
            return
        height, width = (-(-side // self.divisor) * self.divisor for side in self.fixed)
        if (height, width) != tuple(self.fixed):
            given = 'x'.join(map(str, self.fixed))
            raise ValueError(
                f'size {given}: height and width must be multiples of {self.divisor}, as '
                f'{height}x{width}'
            )

    @property
    def traced(self) -> tuple[int, int, int]:
        """Batch, height and width that a model is traced with.

        Sizes that are to stay unknown are like nothing else in a model, as a position embedding's
        grid of 14 x 14, with which they would be held to be equal.
        """
        cells = (353, 417) if self.divisor == 1 else (11 * self.divisor, 13 * self.divisor)
        height, width = self.fixed or cells
        return 2 if self.batches else 1, height, width

    @property
    def dynamic_shapes(self) -> dict[int, Any]:
        """The axes of `(B, 3, H, W)` that stay unknown, as `torch.export` takes them."""
        axes: dict[int, Any] = {}
        if self.batches:
            axes[0] = Dim('batch', min=1, max=_MOST_IMAGES)
        if self.fixed is None:
            for axis, name in ((2, 'rows'), (3, 'columns')):
                low, high = -(-self.smallest // self.divisor), _LARGEST // self.divisor
                if self.divisor == 1:
                    axes[axis] = Dim.DYNAMIC(min=low, max=high)
                else:
                    axes[axis] = self.divisor * Dim(name, min=low, max=high)
        return axes

    def padded(self, side: int) -> int:
        """The smallest open size that holds so many pixels."""
        return -(-max(side, self.smallest) // self.divisor) * self.divisor

    def as_json(self) -> dict[str, Any]:
        """For the description."""
        return dict(
            size=None if self.fixed is None else list(self.fixed),
            divisor=self.divisor,
            smallest=self.smallest,
            largest=_LARGEST,
            batch=None if self.batches else 1,
        )
