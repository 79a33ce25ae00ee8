"""Images in whole cells of a model: patches, or pixels of its coarsest map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def pad_to_whole(images: Tensor, cell: int) -> Tensor:
    """Adds zeros at the bottom and right of ``(B, C, H, W)`` up to whole cells of so many pixels.

    Written without Python's ``%``, which torch.compile cannot translate for a size that is not
    known beforehand (torch 2.11).
    """
    height, width = images.shape[-2:]
    bottom = (height + cell - 1) // cell * cell - height
    right = (width + cell - 1) // cell * cell - width
    return F.pad(images, (0, right, 0, bottom))


class PadToWhole(nn.Module):
    """:func:`pad_to_whole` as a module.

    Args:
        cell: side of a cell in pixels.
    """

    def __init__(self, cell: int) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` in whole cells."""
        return pad_to_whole(images, self.cell)
