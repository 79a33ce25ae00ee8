"""``ImageShape``: prompts in the shape of an image, with the patch embedding or without it.

With it an image prompt is cut into patches like any image, and gives as many tokens. Without it its
pixels, read row by row, are the numbers of a few tokens: 32 x 32 pixels of three colours are four
tokens of 768.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitadapter_dense.tuning.input_prompts import Host
from vitadapter_dense.tuning.patch_embedding import patch_conv, patch_tokens

LENGTH = 5  # tokens of a prompt, as in the PyTorch port of L2P


@dataclass(frozen=True)
class ImageShape:
    """How prompts of one size become tokens.

    Attributes:
        hw: height and width in pixels; None for tokens whose numbers make no image.
        length: tokens of a prompt.
        dim: their width.
        patch_embed: what makes tokens of pixels; None: they are tokens already, reshaped.
    """

    hw: tuple[int, int] | None
    length: int
    dim: int
    patch_embed: nn.Module | None

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of what is stored of a prompt: pixels ``(3, H, W)``, or tokens ``(L, C)``."""
        return (self.length, self.dim) if self.patch_embed is None else (3, *self.hw)

    def tokens(self, stored: Tensor) -> Tensor:
        """``(N, *stored)`` -> ``(N, length, dim)``."""
        if self.patch_embed is None:
            return stored.reshape(-1, self.length, self.dim)
        return patch_tokens(self.patch_embed, stored)

    def of_images(self, images: Sequence[Tensor] | Tensor) -> Tensor:
        """Images ``(3, H, W)`` of any sizes, in this size: ``(N, 3, *hw)``."""
        return torch.cat(
            [
                F.interpolate(image[None], size=self.hw, mode='bilinear', antialias=True)
                for image in images
            ]
        )

    def pixels(self, stored: Tensor) -> Tensor:
        """What is stored of N prompts as images ``(N, 3, *hw)``."""
        return stored.reshape(-1, 3, *self.hw)


def image_shape(
    host: Host,
    *,
    length: int | None,
    image_size: int | None,
    as_image: bool,
    method: str,
) -> ImageShape:
    """The shape of prompts that fit a backbone.

    Args:
        host: the backbone.
        length: tokens of a prompt; with ``image_size`` the patch embedding says how many.
        image_size: side of an image that goes through the patch embedding; None: none does.
        as_image: the prompts' numbers must make an image.
        method: for messages.

    Raises:
        ValueError: they do not fit.
    """
    if length is not None and length < 1:
        raise ValueError(f'{method}(length={length}): give at least one token')
    if image_size is None:
        length = LENGTH if length is None else length
        if not as_image:
            return ImageShape(None, length, host.dim, None)
        pixels, rest = divmod(length * host.dim, 3)
        if rest:
            raise ValueError(
                f'{method}(length={length}): {length} tokens of {host.dim} numbers make no image '
                f'of three colours; set length={length + -length % 3}, or image_size to make the '
                f'tokens by the patch embedding of {host.kind}'
            )
        rows = next(side for side in range(int(pixels**0.5), 0, -1) if pixels % side == 0)
        return ImageShape((rows, pixels // rows), length, host.dim, None)
    patch = patch_conv(host.patch_embed).kernel_size
    if image_size < 1 or image_size % patch[0] or image_size % patch[1]:
        whole = max(1, round(image_size / patch[0])) * patch[0]
        raise ValueError(
            f'{method}(image_size={image_size}): {host.kind} cuts images into patches of '
            f'{patch[0]} x {patch[1]} pixels; set image_size={whole}'
        )
    count = (image_size // patch[0]) * (image_size // patch[1])
    if length not in (None, count):
        raise ValueError(
            f'{method}(length={length}, image_size={image_size}): the patch embedding of '
            f'{host.kind} makes {count} tokens of such an image; leave length out'
        )
    return ImageShape((image_size, image_size), count, host.dim, host.patch_embed)
