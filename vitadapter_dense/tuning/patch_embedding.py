"""The patch embedding of a plain ViT or a Swin, of timm or of the toolboxes, on pixels of a method.

It is the backbone's own and stays frozen.
"""

from __future__ import annotations

from torch import Tensor, nn


def patch_conv(patch_embed: nn.Module) -> nn.Conv2d:
    """The convolution of a patch embedding."""
    return patch_embed.proj if hasattr(patch_embed, 'proj') else patch_embed.projection


def patch_tokens(patch_embed: nn.Module, pixels: Tensor) -> Tensor:
    """``(B, 3, H, W)`` in whole patches -> tokens ``(B, N, C)``, without positions."""
    patches = patch_conv(patch_embed)(pixels).flatten(2).transpose(1, 2)  # (B, N, C)
    norm = getattr(patch_embed, 'norm', None)
    return patches if norm is None else norm(patches)
