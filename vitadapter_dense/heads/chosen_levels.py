"""``ChosenLevels``: which of a backbone's maps a neck takes, and which are pooled from what it
gives.

MMDetection's ``FPN`` can start at a level and pools by taking every other pixel; its
``ChannelMapper``, on which DETR-type detectors stand, takes all maps and pools none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class ChosenLevels(nn.Module):
    """A neck without a backbone's finest maps, and with coarser ones pooled behind it.

    Args:
        in_channels: of all maps of the backbone, from the finest on.
        neck: config of the neck; ``in_channels`` of the maps that it takes are added.
        start_level: how many of the finest maps are left out.
        num_pooled: how many maps are added, each the maximum over 2 x 2 pixels of the one before
            (the original's detector without FPN has one).

    Raises:
        ValueError: a start that leaves out every map.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        neck: dict[str, Any],
        *,
        start_level: int = 0,
        num_pooled: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= start_level < len(in_channels):
            raise ValueError(
                f'start_level={start_level} of {len(in_channels)} maps: give 0 to '
                f'{len(in_channels) - 1}'
            )
        self.start_level, self.num_pooled = start_level, num_pooled
        self.neck = MODELS.build(dict(neck, in_channels=list(in_channels[start_level:])))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """From maps ``(B, C, H, W)``, the finest first, to those of the neck and the pooled."""
        levels = list(self.neck(tuple(maps[self.start_level :])))
        for _ in range(self.num_pooled):
            levels.append(F.max_pool2d(levels[-1], kernel_size=2, ceil_mode=True))
        return tuple(levels)
