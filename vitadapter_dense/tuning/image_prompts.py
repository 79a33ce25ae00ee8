"""Prompts around the image of a convolutional backbone, and as channels beside its colours.

Visual Prompt Tuning (Jia et al., ECCV 2022, https://arxiv.org/abs/2203.12119, section 3.4 and
table 6) has prompts in the space of pixels for ConvNeXt and ResNet, which have no tokens: a learned
border (``pad``), and learned channels (``below``, called concat-channel in the paper). Their sizes
are fixed there; here both follow the image.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.encoders.maps import dense
from vitadapter_dense.encoders.mixin import Mixin, mix_in
from vitadapter_dense.encoders.timm_stages import TimmStages

SIDE = 224  # of the images that prompts are made for; others get them resampled
_CELL = 32  # the coarsest stride of the toolboxes' backbones
_SPREAD = math.sqrt(3.0)  # uniform, with the deviation that normalised images have


class BorderPrompt(nn.Module):
    """A learned border, so many pixels wide, around images of any size.

    The strips above and below are as wide as the image and the border, those left and right as high
    as the image; of another size than 224 x 224 they are resampled along the image's side.

    Args:
        width: of the border in pixels.
        cell: the border lies in whole cells of so many pixels, with zeros outside of it, so that
            maps of a stride that divides it are those of the image, and some around.
    """

    def __init__(self, width: int, cell: int) -> None:
        super().__init__()
        self.width, self.cell = width, cell
        self.margin = math.ceil(width / cell) * cell
        self.rows = nn.Parameter(_uniform(2, 3, width, SIDE + 2 * width))
        self.columns = nn.Parameter(_uniform(2, 3, SIDE, width))

    def forward(self, images: Tensor, dropout: nn.Module) -> Tensor:
        """``(B, 3, H, W)`` -> ``(B, 3, H', W')``, whole cells, the image ``margin`` pixels in."""
        height, width = images.shape[-2:]
        whole = width + 2 * self.width
        rows = dropout(_resampled(self.rows, (self.width, whole)))
        columns = dropout(_resampled(self.columns, (height, self.width)))
        batch = len(images)
        left, right = (column.expand(batch, -1, -1, -1).to(images.dtype) for column in columns)
        above, below = (row.expand(batch, -1, -1, -1).to(images.dtype) for row in rows)
        framed = torch.cat([above, torch.cat([left, images, right], dim=3), below], dim=2)
        outside = self.margin - self.width
        after = [
            outside + (side + self.cell - 1) // self.cell * self.cell - side
            for side in (height, width)
        ]
        return F.pad(framed, (outside, after[1], outside, after[0]))

    def of_image(self, level: Tensor, framed: Tensor, images: Tensor) -> Tensor:
        """The part of a map ``(B, C, h, w)`` of framed images that belongs to the images.

        Raises:
            ValueError: the map's stride does not divide the cells.
        """
        stride = framed.shape[-2] // level.shape[-2]
        fits = (framed.shape[-2] // stride, framed.shape[-1] // stride) == tuple(level.shape[-2:])
        if self.margin % stride or not fits:
            raise ValueError(
                f"location='pad': a map of {level.shape[-2]} x {level.shape[-1]} for an image of "
                f'{framed.shape[-2]} x {framed.shape[-1]} pixels has no stride that divides '
                f'{self.margin}, so that it cannot be cut to the image: leave the map out '
                f'(out_indices)'
            )
        start = self.margin // stride
        height, width = ((side + stride - 1) // stride for side in images.shape[-2:])
        return dense(level[..., start : start + height, start : start + width])


class Framed(Mixin):
    """A backbone that sees its images in a border; mixed into its class.

    The maps that it gives are those of the images alone: nothing behind it sees the border's place.
    A vector (`TimmReadOut`) is that of the framed images, as in VPT's code.
    """

    def forward(self, images: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The backbone's maps of the images."""
        (method,) = self._framed_by
        framed = method.border(images, method.dropout)
        maps = super().forward(framed, *args, **kwargs)
        return type(maps)(
            method.border.of_image(level, framed, images) if level.ndim == 4 else level
            for level in maps
        )


def frame(backbone: nn.Module, method: nn.Module) -> None:
    """Puts a method's ``border`` around the images of a backbone; ``dropout`` is its, too."""
    mix_in(backbone, Framed)
    backbone._framed_by = (method,)  # in a tuple, it is no second child


def cell_of(backbone: nn.Module) -> int:
    """Pixels of the cells that a backbone's images are cut into: its coarsest stride or more."""
    return backbone.image_sizes.multiple if isinstance(backbone, TimmStages) else _CELL


def image_convolution(backbone: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Name and module of the convolution that sees the images' three channels, if there is one."""
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            return (name, module) if module.in_channels == 3 and module.groups == 1 else None
    return None


def beside(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A convolution of further channels with the geometry of another, and without a bias."""
    return type(conv)(
        channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        bias=False,
    )


def _uniform(*shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-_SPREAD, _SPREAD)


def _resampled(strips: Tensor, size: tuple[int, int]) -> Tensor:
    """``(N, 3, h, w)`` at another size; as it is where that is its own."""
    if tuple(strips.shape[-2:]) == tuple(size):
        return strips
    return F.interpolate(strips, size=size, mode='bilinear')
